#include "cgroup_events.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace holdfast {

namespace {

// Of a limit, in pages and with the kernel's batches of charges: it kills a little below.
constexpr uint64_t kNearlyAll = 15;
constexpr uint64_t kOf = 16;

// The number after `key` at the start of a line.
uint64_t Counter(const char* text, const char* key) {
  size_t length = strlen(key);
  for (const char* line = text; line != nullptr && *line != 0; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, key, length) == 0 && line[length] == ' ')
      return strtoull(line + length, nullptr, 10);
  }
  return 0;
}

}  // namespace

CgroupEvents::CgroupEvents(const int* fds, uint64_t memory_limit) : memory_limit_(memory_limit) {
  memcpy(fds_, fds, sizeof fds_);
}

bool CgroupEvents::Any() const {
  for (int fd : fds_)
    if (fd >= 0) return true;
  return false;
}

bool CgroupEvents::HoldsMemory() const {
  return fds_[static_cast<size_t>(CgroupEventFile::kMemoryKills)] >= 0;
}

// A file without keys has one number.
uint64_t CgroupEvents::Read(CgroupEventFile file, const char* key) const {
  int fd = fds_[static_cast<size_t>(file)];
  char text[512];
  ssize_t size = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, 0);
  if (size <= 0) return 0;
  text[size] = 0;
  return key == nullptr ? strtoull(text, nullptr, 10) : Counter(text, key);
}

bool CgroupEvents::Rose(CgroupEventFile file, const char* key) {
  uint64_t& last = last_[static_cast<size_t>(file)];
  uint64_t before = last;
  last = Read(file, key);
  return last > before;
}

bool CgroupEvents::MemoryReached() {
  if (!HoldsMemory()) return false;
  bool killed = Rose(CgroupEventFile::kMemoryKills, "oom_kill");
  // Read each time, so that an old rise is not taken for the reason of a new kill.
  bool counted = Rose(CgroupEventFile::kMemoryReached, "oom");
  if (!killed) return false;
  // v1 counts nothing that could be relied on (Linux 6.18 leaves memory.failcnt at 0).
  uint64_t peak = Read(CgroupEventFile::kMemoryReached, nullptr);
  return counted || peak >= memory_limit_ / kOf * kNearlyAll;
}

bool CgroupEvents::MemoryGrew() {
  if (!HoldsMemory()) return false;
  uint64_t used = Read(CgroupEventFile::kMemoryUsed, nullptr);
  uint64_t& last = last_[static_cast<size_t>(CgroupEventFile::kMemoryUsed)];
  if (used < last) last = used;
  if (used < last + memory_limit_ / 8) return false;
  last = used;
  return true;
}

bool CgroupEvents::ProcessesReached() { return Rose(CgroupEventFile::kTasksRefused, "max"); }

}  // namespace holdfast
