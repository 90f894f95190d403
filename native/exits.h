// How processes of a sandbox ended that are nobody's here: their parents inside wait for them. Each
// is held by a pidfd from before its parent's wait goes on, so that its wait status is known for
// certain once it is reaped, whoever did.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "fd.h"

namespace holdfast {

// Whether a pidfd tells the status of a process that was reaped (PIDFD_INFO_EXIT, Linux 6.15).
bool PidfdTellsExit();

// Looks for processes that were ended for writing beyond RLIMIT_FSIZE (SIGXFSZ, setrlimit(2)).
class ExitWatch {
 public:
  ExitWatch();

  // Readable when something that is held was reaped.
  int Fd() const { return epoll_.Get(); }

  // Holds the children of a thread's process; the thread stands at the entry of its wait. They are
  // counted to its session: one that began a session of its own was started from there. Returns
  // whether there is something to harvest already.
  bool HoldChildren(int32_t tid, int32_t session);

  // Looks at what was reaped since the last time. Returns the sessions in which a process was ended
  // so.
  std::vector<int32_t> Harvest();

 private:
  struct Held {
    UniqueFd pidfd;
    int32_t session;
  };

  void HarvestLocked();

  UniqueFd epoll_;
  std::mutex mutex_;
  std::map<int32_t, Held> held_;  // by pid, as we see it
  std::vector<int32_t> exceeded_;
};

}  // namespace holdfast
