#include "forks.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>

#include <thread>

#include "descendants.h"

namespace holdfast {

namespace {

// How long a call that was let go on may take to have made its process.
constexpr std::chrono::milliseconds kUnderWay{10};

// As the filter has it; there CLONE_NEWTIME is a part of the signal's number.
constexpr uint64_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

int Tasks(int init_pid) {
  int sum = 0;
  for (const Descendant& process : Descendants(init_pid)) sum += process.threads;
  return sum;
}

}  // namespace

// Those that were admitted just now count twice, or not at all: before anybody is refused for them
// they are waited for.
bool Forks::Admit() {
  while (room_ <= 0) {
    Clock::time_point now = Clock::now();
    while (!since_.empty() && now - since_.front() > kUnderWay) since_.pop_front();
    int counted = Tasks(init_pid_);
    room_ = most_ - counted - static_cast<int>(since_.size());
    if (room_ > 0 || counted >= most_) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (room_ <= 0) return false;
  room_--;
  since_.push_back(Clock::now());
  if (since_.size() > static_cast<size_t>(most_)) since_.pop_front();
  return true;
}

void Forks::Answer(const seccomp_notif& notification) {
  if (notification.data.nr == SYS_clone && (notification.data.args[0] & kNewNamespaces) != 0) {
    calls_->Record(notification.data.nr, "");
    return calls_->Reply(notification.id, EPERM);
  }
  if (static_cast<int>(notification.pid) == init_pid_ || Admit())
    calls_->GoOn(notification.id);
  else
    calls_->Reply(notification.id, EAGAIN);
}

}  // namespace holdfast
