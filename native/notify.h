// The broker: for each sandbox of this process a thread that answers its seccomp notifications, and
// a few more while connects have to wait. It judges by the table that it was given with the
// listener; what it refuses it records, folded and bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fd.h"
#include "flows.h"
#include "notified.h"
#include "own_files.h"
#include "result.h"
#include "territory.h"
#include "wire.h"

namespace holdfast {

enum class Answer : uint32_t {
  kRefuse = 0,      // record, answer `error`
  kConnect = 1,     // loopback and Unix sockets of the sandbox itself are connected; all else is
                    // refused and recorded
  kTraceOpen = 2,   // record what is out of reach, let the kernel decide
  kMappedFile = 3,  // map code only from read-only mounts or files with an execute bit; then
                    // kMappedCode, where there is such a rule
  kWait = 4,        // hold the caller's children, so that how they end is known; let it wait
  kDescriptor = 5,  // see whether the caller has as many descriptors as it may have; go on
  kMetadata = 6,    // change modes, owners, times and attributes of what is the sandbox's own
  kServe = 7,       // bind and listen on the loopback, and where the sandbox may make files
  kMappedCode = 8,  // remember of the caller's image that it maps code that the sandbox can write
  kMakeSocket = 9,  // make it and hand it in
  kLookup = 10,     // say where links lead and the caller stands, and watch, where that is granted
  kLinger = 11,     // set what a socket's close does, but never have it wait; other options are
                    // refused and recorded
};

struct NotifyRule {
  int number;  // of the system call
  Answer answer;
  int error;  // errno of a refusal
  // kDescriptor, kTraceOpen: as many descriptors as a process may have; 0: not looked at.
  int descriptors;
  int path_argument;  // kTraceOpen: which argument is the path; the one before it is the folder, or
                      // there is none
};

// Starts answering. `sockets` tells of the sandbox's sockets (NETLINK_SOCK_DIAG); `init_pid` is the
// sandbox's init as this process sees it. The descriptors are taken over. Returns a handle for the
// calls below; 0 where no thread can be had for it.
// `carried` is the listener of the connections that are carried on; without one there is no
// network.
// `territory` is that of a sandbox without namespaces, else null.
uint32_t WatchListener(UniqueFd listener, UniqueFd sockets, UniqueFd carried, int init_pid,
                       const std::vector<NotifyRule>& rules,
                       const std::shared_ptr<const Territory>& territory,
                       const std::shared_ptr<const OwnFiles>& own);

// As ConnectLoopback (loopback.h), to a server of a sandbox that shares the host's network.
int ConnectServer(uint32_t handle, int fd, uint16_t port);

// `changed` is called, on a thread of the broker's, when there is a connection to take.
void OnFlow(uint32_t handle, std::function<void()> changed);

// The connections since the last call.
std::vector<Flow> TakeFlows(uint32_t handle);

// What was refused since the last call, and forgets it.
std::vector<DenialRecord> TakeDenials(uint32_t handle);

// A limit that a process inside met, which nobody but the broker sees.
struct LimitRecord {
  LimitKind kind;
  // As the sandbox numbers them: the process's, then those that it was started from.
  std::vector<int32_t> sessions;
};

// `changed` is called, on a thread of the broker's, when there may be something to take.
void OnLimitReached(uint32_t handle, std::function<void()> changed);

// What was reached since the last call, however short ago, and forgets it.
std::vector<LimitRecord> TakeLimits(uint32_t handle);

// Stops answering; calls that wait are answered ENOSYS by the kernel.
void UnwatchListener(uint32_t handle);

}  // namespace holdfast
