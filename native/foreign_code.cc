#include "foreign_code.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "caller.h"
#include "fd.h"
#include "kernel.h"

namespace holdfast {

namespace {

constexpr size_t kMostImages = 1 << 18;

bool CanBeWritten(int file, const Territory* territory) {
  struct stat status;
  struct statvfs view;
  if (fstat(file, &status) != 0 || fstatvfs(file, &view) != 0) return true;
  // /dev/zero: what is mapped is anonymous memory.
  if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 5)) return false;
  if (territory == nullptr) return (view.f_flag & ST_RDONLY) == 0;
  char path[PATH_MAX];
  std::string link = "/proc/self/fd/" + std::to_string(file);
  ssize_t size = readlink(link.c_str(), path, sizeof path);
  // What has no name is a memfd, or was deleted by who can write its folder.
  return size <= 0 || size == sizeof path || status.st_nlink == 0 ||
         territory->IsWritable(std::string(path, static_cast<size_t>(size)));
}

}  // namespace

uint64_t ImageOf(uint32_t tid) {
  UniqueFd file(open(ProcPath(tid, "/auxv").c_str(), O_RDONLY | O_CLOEXEC));
  uint64_t words[128];
  ssize_t size = file.Valid() ? read(file.Get(), words, sizeof words) : -1;
  if (size <= 0) return 0;
  uint64_t hash = 14695981039346656037u;  // FNV-1a by words, mixed: nobody chooses them
  for (size_t i = 0; i < static_cast<size_t>(size) / sizeof *words; i++) {
    hash = (hash ^ words[i]) * 1099511628211u;
    hash ^= hash >> 29;
  }
  return hash == 0 ? 1 : hash;
}

// Such a file was not looked at when it was mapped, and hardly any program does this.
bool HasUnseenFile(int maps, uint64_t begin, uint64_t end, bool asks) {
  ProcmapQuery query{};
  query.size = sizeof query;
  query.query_addr = begin;
  while (asks) {
    query.query_flags = kProcmapCoveringOrNext | kProcmapFileBacked;
    if (ioctl(maps, kProcmapQuery, &query) != 0) {
      if (errno == ENOENT) return false;
      break;
    }
    if (query.vma_start >= end) return false;
    if ((query.vma_flags & kProcmapExecutable) == 0) return true;
    query.query_addr = query.vma_end;
  }
  // The lines, which are in order.
  UniqueFd copy(fcntl(maps, F_DUPFD_CLOEXEC, 0));
  std::unique_ptr<FILE, int (*)(FILE*)> lines(fdopen(copy.Get(), "r"), fclose);
  if (lines == nullptr) return true;
  copy.Release();
  char* line = nullptr;
  size_t room = 0;
  bool found = false;
  while (!found && getline(&line, &room, lines.get()) > 0) {
    unsigned long long from = 0;
    unsigned long long to = 0;
    unsigned long long inode = 0;
    char rights[5] = "";
    if (sscanf(line, "%llx-%llx %4s %*s %*s %llu", &from, &to, rights, &inode) != 4) continue;
    if (from >= end) break;
    found = to > begin && inode != 0 && rights[2] != 'x';
  }
  free(line);
  return found;
}

MappedCode JudgeMapping(const seccomp_notif& notification, const Territory* territory) {
  const auto& [number, arch, pointer, args] = notification.data;
  MappedCode found;
  if (number == SYS_mmap) {
    UniqueFd file = OpenDescriptor(notification.pid, static_cast<int>(args[4]));
    if (!file.Valid()) found.error = errno == ENOENT ? EBADF : EACCES;
    found.foreign = file.Valid() && CanBeWritten(file.Get(), territory);
  } else {
    UniqueFd maps(open(ProcPath(notification.pid, "/maps").c_str(), O_RDONLY | O_CLOEXEC));
    auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    uint64_t end = args[0] + ((args[1] + page - 1) & ~(page - 1));
    if (end < args[0]) end = UINT64_MAX;  // the kernel refuses it
    if (!maps.Valid()) found.error = EACCES;
    found.foreign = maps.Valid() && HasUnseenFile(maps.Get(), args[0], end);
  }
  return found;
}

void ForeignCode::Mark(uint64_t image) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (images_.size() < kMostImages)
    images_.insert(image);
  else if (images_.count(image) == 0)
    full_ = true;
}

bool ForeignCode::Has(uint64_t image) {
  std::lock_guard<std::mutex> lock(mutex_);
  return image == 0 || full_ || images_.count(image) != 0;
}

}  // namespace holdfast
