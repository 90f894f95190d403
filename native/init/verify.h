// Tries one forbidden thing for each wall. A wall that lets it through was never raised, whatever
// the calls that raised it said.
#pragma once

#include "../wire.h"
#include "program.h"

namespace holdfast {

struct VerifyContext {
  const SetupMessage& message;
  const Operation& operation;
  int abstract_fd;
  int outsider;          // a process that the layers keep signals from; 0: pid 1, which is us
  int child_ruleset_fd;  // the layer that the operation's second number names
  int other_ruleset_fd;  // the third: the layer of the next verification, which the same child can
                         // make
};

// Returns -1 when the wall stands, else the errno of a test that could not be made, or 0 when the
// forbidden thing succeeded. `*what` names the attempt. What a child tries counts as passed here:
// it runs while the rest is raised.
int Verify(const VerifyContext& context, const char** what);

// Waits for that child and returns the same of its attempts; `*wall` is the one that failed.
int FinishAttempts(Wall* wall, const char** what);

}  // namespace holdfast
