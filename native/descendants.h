// The processes of a sandbox without a pid namespace, as the broker finds them.
#pragma once

#include <vector>

namespace holdfast {

struct Descendant {
  int pid;
  int threads;  // 1 as well of one that has ended, and that nobody has waited for
};

// All below a process. Whose parent ends becomes the init's child (PR_SET_CHILD_SUBREAPER), so that
// a sandbox's are all below its init.
std::vector<Descendant> Descendants(int pid);

}  // namespace holdfast
