// The processes of a sandbox without a pid namespace, as the broker finds them.
#pragma once

#include <vector>

namespace holdfast {

// All below a process. Whose parent ends becomes the init's child (PR_SET_CHILD_SUBREAPER), so that
// a sandbox's are all below its init.
std::vector<int> Descendants(int pid);

}  // namespace holdfast
