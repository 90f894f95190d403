#include "threads.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <thread>
#include <utility>

namespace holdfast {

void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

bool StartThread(std::function<void()> work) {
  try {
    std::thread(std::move(work)).detach();
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

bool KeptThreads::Post(const std::function<void()>& work) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (is_one_idle_) {
      is_one_idle_ = false;
      given_ = work;
      wake_.notify_one();
      return true;
    }
  }
  return StartThread([this, work] { Run(work); });
}

void KeptThreads::Run(std::function<void()> work) {
  BlockSignals();
  pthread_setname_np(pthread_self(), name_);
  for (;;) {
    work();
    work = nullptr;
    std::unique_lock<std::mutex> lock(mutex_);
    if (is_one_idle_ || given_) return;
    is_one_idle_ = true;
    pthread_setname_np(pthread_self(), name_);
    wake_.wait(lock, [this] { return given_ != nullptr; });
    work = std::move(given_);
    given_ = nullptr;
  }
}

}  // namespace holdfast
