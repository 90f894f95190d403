// Memory for secrets: never in swap, a core dump or a forked child, and wiped before it is given
// back.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "result.h"

namespace holdfast {

class LockedMemory {
 public:
  LockedMemory() = default;
  ~LockedMemory();
  LockedMemory(const LockedMemory&) = delete;
  LockedMemory& operator=(const LockedMemory&) = delete;

  // Whole pages of zeros. Fails where RLIMIT_MEMLOCK leaves no room (mlock(2)); what is no secret
  // need not be locked.
  Status Allocate(size_t size, bool is_secret = true);
  void Wipe();
  uint8_t* Data() const { return data_; }
  size_t Size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_ = 0;
};

}  // namespace holdfast
