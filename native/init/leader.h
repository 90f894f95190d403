// The session leader of a call that has a terminal. The call's own program must not lead it: the
// kernel drops a terminal's stop signals (Ctrl-Z) for a process group that has no parent in its
// session (credentials(7), orphaned process groups), so a program that led its session could never
// be stopped and continued.
#pragma once

#include <sys/types.h>

#include "../wire.h"
#include "setup.h"

namespace holdfast {

// In memory that the leader shares with the init alone.
struct LeaderReport {
  pid_t program = -1;
  int error = 0;  // of the program's start
  ExecStep step{};
  int status = 0;  // wait(2): the program's last stop, or its end
  bool ended = false;
};

struct LeaderRequest {
  int terminal;           // becomes the session's
  const Layer* layer;     // put on by the leader, so that the program is in its domain
  int (*program)(void*);  // runs in a vfork child and ends with an exec
  void* plan;
  char* stack_end;
  const volatile int* error;  // where it leaves why it could not
  const volatile ExecStep* step;
};

// Starts a leader, which starts the program; returns when the program runs or could not be started.
// -1 with errno when there is no leader; else the report says what came of it, until ForgetLeader.
pid_t StartLeader(const LeaderRequest& request, LeaderReport** report);

void ForgetLeader(LeaderReport* report);

}  // namespace holdfast
