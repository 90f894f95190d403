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
void OnLauncherThread(std::function<void()> work);

// All to be called on that thread.
// Starts an init that waits for its set-up: what it needs is known before the plan is made.
Status Begin(uint64_t clone_flags, const std::string& init_file, Launched* begun);

// Ends an init that is not wanted any more, and waits until it is gone.
void Abandon(Launched* begun);

// Blocks until the init has proved its walls or failed, at most `timeout_ms`. Goes on with what
// `launched` holds; an init is begun where it holds none.
Status Launch(const LaunchRequest& request, int timeout_ms, Launched* launched);

// The process that clears up after a launcher that was killed: `*control` takes its packets.
Status StartReaper(UniqueFd* control);

// Waits until the init's process is gone (its pid namespace with it) and reaps it.
int WaitForInit(int pidfd);

// The init's executable, opened once: a sealed memfd, else the package's file with the same bytes.
Status OpenInitImage(const std::string& init_file, int* fd);

}  // namespace holdfast
