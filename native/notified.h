// The calls of one sandbox that its filter hands out: received, answered, and recorded where they
// are refused. Shared by the threads that judge them.
#pragma once

#include <linux/seccomp.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fd.h"

namespace holdfast {

struct DenialRecord {
  int number;
  std::string subject;
  uint64_t count;
};

class NotifiedCalls {
 public:
  explicit NotifiedCalls(UniqueFd listener);

  int Fd() const { return listener_.Get(); }

  // The next one; 0 or an errno.
  int Receive(seccomp_notif* notification);

  // An errno; 0 where it was done on the caller's behalf.
  void Reply(uint64_t id, int error);
  // What the call returns, done on the caller's behalf.
  void Return(uint64_t id, int64_t value);
  // The kernel does it, with what stands in the caller's memory by then.
  void GoOn(uint64_t id);

  // Answers with a descriptor of ours at a new number of the caller's; 0, or -1 with errno and no
  // answer.
  int HandIn(uint64_t id, int fd, bool close_on_exec);

  // Whether the caller still waits for it. What was read of the caller before is the caller's.
  bool StillValid(uint64_t id) const;

  // Of a refusal: folded and bounded.
  void Record(int number, const std::string& subject);

  // What was recorded since the last call, and forgets it.
  std::vector<DenialRecord> Take();

 private:
  void Send(uint64_t id, int error, uint32_t flags, int64_t value = 0);

  UniqueFd listener_;
  std::mutex mutex_;
  std::map<std::pair<int, std::string>, uint64_t> denials_;
};

}  // namespace holdfast
