// How processes of a sandbox ended that are nobody's here: their parents inside wait for them. Each
// is held by a pidfd from before its parent's wait goes on, so that its wait status is known for
// certain once it is reaped, whoever did.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>

#include "fd.h"

namespace holdfast {

// Whether a pidfd tells the status of a process that was reaped (PIDFD_INFO_EXIT, Linux 6.15).
bool PidfdTellsExit();

// Sessions in which a process was ended for writing beyond RLIMIT_FSIZE (SIGXFSZ, setrlimit(2)).
class ExitWatch {
 public:
  ExitWatch();

  // Readable when something that is held was reaped.
  int Fd() const { return epoll_.Get(); }

  // Holds the children of a thread's process; the thread stands at the entry of its wait.
  void HoldChildren(uint32_t tid);

  // Looks at what was reaped. Returns the sessions, as the sandbox numbers them, that were not
  // there before.
  std::set<int32_t> Harvest();

  // Whether a process of the session was ended so; 0 asks for any. Forgets what it answers.
  bool TakeExceeded(int32_t session);

 private:
  struct Held {
    UniqueFd pidfd;
    int32_t session;
  };

  void HarvestLocked(std::set<int32_t>* fresh);

  UniqueFd epoll_;
  std::mutex mutex_;
  std::map<int32_t, Held> held_;  // by pid, as we see it
  std::set<int32_t> exceeded_;
};

}  // namespace holdfast
