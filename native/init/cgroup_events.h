// What the kernel did for the limits of the sandbox's cgroup, told by files of it that the launcher
// opened for reading: cgroup-v2 memory.events, memory.current and pids.events; cgroup-v1
// memory.oom_control, memory.max_usage_in_bytes, memory.usage_in_bytes and pids.events. The init
// sees no cgroup file system.
#pragma once

#include <stdint.h>

#include "../wire.h"

namespace holdfast {

class CgroupEvents {
 public:
  // Descriptors by CgroupEventFile, -1 where there is none; the limit of memory in bytes.
  CgroupEvents(const int* fds, uint64_t memory_limit);

  bool Any() const;
  bool HoldsMemory() const;

  // Whether, since it was last asked, the kernel killed a process because the cgroup's own memory
  // was used up. A kill for another's limit, or the whole host's, does not count.
  bool MemoryReached();

  // Whether use has grown by an eighth of the limit since it was last found so.
  bool MemoryGrew();

  // Whether, since it was last asked, a fork was refused.
  bool ProcessesReached();

  // In bytes; 0 where no cgroup holds memory.
  uint64_t memory_limit() const { return memory_limit_; }

 private:
  uint64_t Read(CgroupEventFile file, const char* key) const;
  bool Rose(CgroupEventFile file, const char* key);

  uint64_t memory_limit_;
  int fds_[kCgroupEventFiles];
  uint64_t last_[kCgroupEventFiles] = {};
};

}  // namespace holdfast
