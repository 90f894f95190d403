// How a process came to be, for records alone: a parent may execute something else after its fork,
// and a script is its interpreter's argument (kernel-notes D2).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace holdfast {

struct Ancestry {
  // The executables of its parents, nearest first, as the sandbox sees them.
  std::vector<std::string> ancestors;
  // The first of its arguments that is a file which begins with `#!`, absolute; else empty.
  std::string script;
};

// Of a thread that stands still, up to the sandbox's init.
Ancestry ReadAncestry(uint32_t tid, int init_pid);

// What was read once of a thread, for as long as it executes the same: its arguments and who
// started it are looked at when it connects first, which takes more than all the rest of a connect.
class Ancestries {
 public:
  // `image` as ImageOf says it (foreign_code.h).
  Ancestry Of(uint32_t tid, uint64_t image, int init_pid);

 private:
  std::mutex mutex_;
  std::map<std::pair<uint32_t, uint64_t>, Ancestry> known_;
};

}  // namespace holdfast
