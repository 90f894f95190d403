// How many processes and threads a sandbox has that shares its user's with the host: RLIMIT_NPROC
// would count all of the user's (kernel-notes E7), so without a cgroup the broker counts.
#pragma once

#include <linux/seccomp.h>

#include <chrono>
#include <deque>
#include <memory>
#include <utility>

#include "notified.h"

namespace holdfast {

class Forks {
 public:
  // `most` of what lies below the init.
  Forks(std::shared_ptr<NotifiedCalls> calls, int init_pid, int most)
      : calls_(std::move(calls)), init_pid_(init_pid), most_(most) {}

  // Answers fork, vfork and clone: it goes on, or there is no more room for it (EAGAIN).
  void Answer(const seccomp_notif& notification);

 private:
  using Clock = std::chrono::steady_clock;

  bool Admit();

  const std::shared_ptr<NotifiedCalls> calls_;
  const int init_pid_;
  const int most_;
  int room_ = 0;                         // that was there when they were counted, less those since
  std::deque<Clock::time_point> since_;  // admitted just now: they may not be there yet
};

}  // namespace holdfast
