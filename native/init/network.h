// The network namespace of the sandbox, made beside the mounts: it takes the kernel as long.
#pragma once

namespace holdfast {

// Starts a thread that makes it and ends.
void BeginNetworkNamespace();

// Waits for the thread's end and moves the caller into the namespace; does nothing when none was
// begun or it was joined already. Returns 0, or an errno with the call's name in `*what`.
int JoinNetworkNamespace(const char** what);

// Whether that thread raised the namespace's loopback device too.
bool HasLoopback();

}  // namespace holdfast
