// Starts the init of a sandbox: clone into namespaces, id maps, the set-up program, and waits until
// the walls stand.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fd.h"
#include "result.h"
#include "wire.h"

namespace holdfast {

struct LaunchRequest {
  uint64_t clone_flags = 0;  // CLONE_NEW*
  std::string uid_map;       // text for /proc/PID/uid_map; empty without a user namespace
  std::string gid_map;
  bool deny_setgroups = true;    // needed before an unprivileged gid_map (user_namespaces(7))
  std::vector<uint8_t> program;  // for the init
  struct IdMapped {
    std::string source;  // cloned here, with the launcher's rights, and mapped
    bool recursive = true;
    std::string uid_map;
    std::string gid_map;
  };
  std::vector<IdMapped> id_mapped;  // handed to the init as its extra descriptors, in order
  UniqueFd handed;                  // after those: what another sandbox handed on
  std::vector<std::string>
      cgroup_procs;  // files that the init's pid is written to before it starts
  std::string cgroup_events[kCgroupEventFiles];  // files by CgroupEventFile; empty: none
  uint64_t memory_limit = 0;                     // of the cgroup, in bytes
  std::string init_file;                         // fallback where a memfd may not be executed
};

struct Launched {
  int pid = -1;  // in the launcher's pid namespace
  UniqueFd pidfd;
  UniqueFd control;   // SOCK_SEQPACKET
  UniqueFd events;    // SOCK_STREAM
  UniqueFd listener;  // seccomp user notification
};

// Runs `work` on the addon's launcher thread, which lives as long as the process: the parent-death
// signal follows the thread that cloned (prctl(2)).
void OnLauncherThread(const std::function<void()>& work);

// Runs `work`, which may take for ever, on a thread of its own: an init ends when the last process
// in it does, and one that the kernel holds (a file server that does not answer) must hold nobody
// else up.
void OnOwnThread(const std::function<void()>& work);

// Starts an init that waits for its set-up, on that thread: what it needs is known before the plan
// is made. Returns a handle for TakeBegun or AbandonBegun.
uint32_t BeginLater(uint64_t clone_flags, const std::string& init_file);

// Ends it; nothing happens where it was taken. On any thread.
void AbandonBegun(uint32_t handle);

// Takes what was begun with these namespaces. False when it is not there yet: after the launcher
// thread has done what it was given before, it is. What was begun with others is ended, and
// `launched` stays empty.
bool TakeBegun(uint32_t handle, uint64_t clone_flags, Launched* launched, Status* status);

// Whether SetUp needs no process of its own for this request, and so may run on a thread that hears
// signals.
bool CanSetUpAnywhere(const LaunchRequest& request);

// Maps the init's ids and sends it its program. Goes on with what `launched` holds; where it holds
// nothing an init is begun, which only the launcher thread may do. The init answers by a record
// (wire.h, EventType::kReady), or it ends.
Status SetUp(const LaunchRequest& request, Launched* launched);

// After that record or the init's end: whether the walls stand, and the descriptors that came with
// it (wire.h, ReadyMessage). Else what failed.
Status TakeReady(int control, UniqueFd (&given)[kReadyFds]);

// The process that clears up after a launcher that was killed: `*list` is the memfd with what to
// clear (init/reaper.cc).
Status StartReaper(const std::string& init_file, UniqueFd* list);

// Waits until the init's process is gone (its pid namespace with it) and reaps it.
int WaitForInit(int pidfd);

// The init's executable, opened once: a sealed memfd, else the package's file with the same bytes.
Status OpenInitImage(const std::string& init_file, int* fd);

}  // namespace holdfast
