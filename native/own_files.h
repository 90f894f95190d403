// Which files say nothing of what they are by their names: the sandbox can change them, or its
// workspace brought them.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include <string>
#include <utility>
#include <vector>

namespace holdfast {

struct OwnFiles {
  // Real paths as the sandbox sees them, each with whether it is the sandbox's; the longest that a
  // file lies under counts.
  std::vector<std::pair<std::string, bool>> folders;
  // As whom it runs, as this process sees it, and since when (CLOCK_REALTIME_COARSE, as the times
  // of files).
  uid_t uid = 0;
  gid_t gid = 0;
  timespec since{};
  // What it cannot write is on mounts that are read-only.
  bool has_mounts = true;

  // Of an open file, O_PATH or not. What cannot be told is the sandbox's.
  bool Has(int file) const;
  // Where its state and its place (PlaceOf) are known.
  bool Has(int file, const struct stat& status, const std::string& place) const;
  // Whether what a path leads to is the sandbox's to say.
  bool HasPath(const std::string& path) const;
};

}  // namespace holdfast
