// Starts one child: vfork, descriptors, session, layer, limits, exec.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "../wire.h"
#include "leader.h"
#include "setup.h"

namespace holdfast {

constexpr int kMaxArguments = 65536;

struct SpawnRequest {
  const ExecMessage* message;
  const char* strings;  // file, cwd, search path, argv..., envp..., each NUL-terminated
  size_t strings_size;
  int stdio[3];  // -1: /dev/null
};

struct SpawnResult {
  pid_t pid = -1;                  // our child: the program, or the leader of its session
  pid_t program = -1;              // the program, and its process group
  LeaderReport* leader = nullptr;  // with a leader: what it reports, for ForgetLeader
  int pty_master = -1;
  ExecStep step{};
  int error = 0;
};

// The caller closes the request's descriptors and sends the pty master on.
SpawnResult Spawn(const Setup& setup, const SpawnRequest& request);

}  // namespace holdfast
