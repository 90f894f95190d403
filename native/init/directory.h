// Reads a folder's entries: getdents64(2), without memory of its own.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast {

class Directory {
 public:
  // The descriptor stays the caller's.
  explicit Directory(int fd) : fd_(fd) {}

  // The next name but `.` and `..`, valid until the next call; null at the end.
  const char* Next() {
    for (;;) {
      if (at_ == size_) {
        long size = syscall(SYS_getdents64, fd_, buffer_, sizeof buffer_);
        if (size <= 0) return nullptr;
        at_ = 0;
        size_ = static_cast<size_t>(size);
      }
      const auto* entry = reinterpret_cast<const Entry*>(buffer_ + at_);
      at_ += entry->length;
      const char* name = entry->name;
      if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0))) continue;
      return name;
    }
  }

 private:
  // struct linux_dirent64, getdents(2)
  struct Entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[1];
  };

  int fd_;
  size_t at_ = 0;
  size_t size_ = 0;
  alignas(Entry) char buffer_[2048];
};

}  // namespace holdfast
