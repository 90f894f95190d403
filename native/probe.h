// What the running kernel offers, asked of the kernel itself.
#pragma once

#include <cstdint>
#include <string>

namespace holdfast {

// landlock_create_ruleset(LANDLOCK_CREATE_RULESET_VERSION): the ABI, or 0 where Landlock is absent
// or switched off.
int LandlockAbi(int* error);

// Whether seccomp knows an action (seccomp(2) SECCOMP_GET_ACTION_AVAIL).
bool SeccompActionAvailable(uint32_t action);

// Makes a child in the given new namespaces and lets it end. 0, or the errno of clone(2).
int ProbeClone(uint64_t flags);

// Duplicates a descriptor of a child by pidfd_getfd(2), as the broker does. 0, or an errno.
int ProbePidfdGetfd();

// Executes the init image from a memfd in a child. 0, or an errno.
int ProbeMemfdExec();

}  // namespace holdfast
