// How a process came to be, for records alone: a parent may execute something else after its fork,
// and a script is its interpreter's argument (kernel-notes D2).
#pragma once

#include <cstdint>
#include <string>
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

}  // namespace holdfast
