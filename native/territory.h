// What is a sandbox's own where it shares the host's view: without a mount namespace the broker
// answers for what Landlock does not judge.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "caller.h"

namespace holdfast {

struct Territory {
  std::vector<std::string> writable;  // real paths
  std::vector<std::string> readable;  // beside those
  uint32_t loopback = 0;              // its own addresses (own_loopback.h)
  // As whom it runs. Where that is not this process's own user, root acts in its name.
  uid_t uid = 0;
  gid_t gid = 0;

  bool IsWritable(const std::string& path) const {
    for (const std::string& folder : writable)
      if (IsWithin(path, folder)) return true;
    return false;
  }
};

// For as long as it lives, this thread alone is the sandbox's user: raw calls, since the C
// library's change every thread (nptl(7)). Root's effective capabilities go and come back with its
// user id (capabilities(7)).
class ActingAs {
 public:
  ActingAs(uid_t uid, gid_t gid);
  explicit ActingAs(const Territory& territory) : ActingAs(territory.uid, territory.gid) {}
  ~ActingAs();
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;

  // Nothing may be done where it is not.
  bool Fine() const { return fine_; }

 private:
  bool changed_ = false;
  bool fine_ = true;
  std::vector<gid_t> groups_;
};

}  // namespace holdfast
