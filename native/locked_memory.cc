#include "locked_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast {

Status LockedMemory::Allocate(size_t size, bool is_secret) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t length = (size + page - 1) / page * page;
  void* made = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) return Status::Failed("secret", "mmap", errno);
  data_ = static_cast<uint8_t*>(made);
  size_ = size;
  mapped_ = length;
  // Before anything is written: madvise(2), and mlock(2), which faults the pages in.
  if (madvise(made, length, MADV_DONTDUMP) != 0)
    return Status::Failed("secret", "madvise MADV_DONTDUMP", errno);
  if (madvise(made, length, MADV_WIPEONFORK) != 0)
    return Status::Failed("secret", "madvise MADV_WIPEONFORK", errno);
  // Not by the library's mlock, which sanitizers make do nothing.
  if (is_secret && syscall(SYS_mlock, made, length) != 0)
    return Status::Failed("secret", "mlock", errno);
  return Status::Fine();
}

void LockedMemory::Wipe() {
  if (data_ != nullptr) explicit_bzero(data_, mapped_);
}

LockedMemory::~LockedMemory() {
  Wipe();
  if (data_ != nullptr) munmap(data_, mapped_);
}

}  // namespace holdfast
