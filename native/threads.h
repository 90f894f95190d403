// Threads of the addon's own, which live as long as the process does.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

namespace holdfast {

// No handler of the runtime's may run on a thread of ours, nor in a child that shares our memory.
void BlockSignals();

// False where this user, or its cgroup, has as many threads as it may have: a sandbox's programs
// can bring that about, so it must end no more than what asked for the thread.
bool StartThread(std::function<void()> work);

// A thread for each work under way, of which one stays for the next: making one takes longer than
// waking it. Never destroyed: its threads outlive every static of the process.
class KeptThreads {
 public:
  // The threads' name, of at most 15 characters, while they have no work (pthread_setname_np(3)).
  explicit KeptThreads(const char* name) : name_(name) {}

  // False as StartThread.
  bool Post(const std::function<void()>& work);

 private:
  void Run(std::function<void()> work);

  const char* name_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool is_one_idle_ = false;
  std::function<void()> given_;  // to it
};

}  // namespace holdfast
