// Which call a process of a sandbox belongs to: a call is a session of its own, as is what made one
// inside it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace holdfast {

class Sessions {
 public:
  explicit Sessions(int init_pid) : init_pid_(init_pid) {}

  // The session that a thread's process is in, as the sandbox numbers it; 0 when it is gone.
  int32_t Of(int32_t tid);

  // That session, then the one that it was started from, and so on: the last is the call's.
  std::vector<int32_t> Chain(int32_t session);

 private:
  int init_pid_;
  std::mutex mutex_;
  std::map<int32_t, int32_t> started_from_;
};

}  // namespace holdfast
