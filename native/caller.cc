#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel.h"
#include "territory.h"

namespace holdfast {

std::string ProcPath(uint32_t pid, const char* rest) {
  return "/proc/" + std::to_string(pid) + rest;
}

std::string ReadProc(uint32_t pid, const char* name) {
  UniqueFd file(open(ProcPath(pid, name).c_str(), O_RDONLY | O_CLOEXEC));
  char text[4096];
  ssize_t size = file.Valid() ? read(file.Get(), text, sizeof text) : -1;
  return size <= 0 ? std::string() : std::string(text, static_cast<size_t>(size));
}

// proc_pid_stat(5): the name in parentheses may hold anything, so fields are counted from its end.
int ParentOf(uint32_t pid) {
  std::string text = ReadProc(pid, "/stat");
  size_t at = text.rfind(')');
  int parent = 0;
  if (at == std::string::npos || sscanf(text.c_str() + at + 1, " %*c %d", &parent) != 1) return 0;
  return parent;
}

ssize_t ReadMemory(uint32_t pid, uint64_t address, void* buffer, size_t size) {
  iovec local{buffer, size};
  iovec remote{reinterpret_cast<void*>(address), size};
  return process_vm_readv(static_cast<pid_t>(pid), &local, 1, &remote, 1, 0);
}

ssize_t WriteMemory(uint32_t pid, uint64_t address, const void* buffer, size_t size) {
  iovec local{const_cast<void*>(buffer), size};
  iovec remote{reinterpret_cast<void*>(address), size};
  return process_vm_writev(static_cast<pid_t>(pid), &local, 1, &remote, 1, 0);
}

std::string ReadText(uint32_t pid, uint64_t address) {
  char buffer[4096];
  size_t have = 0;
  // By page: the text may end just before an unmapped one.
  while (have < sizeof buffer) {
    size_t part = 4096 - ((address + have) & 4095);
    if (part > sizeof buffer - have) part = sizeof buffer - have;
    ssize_t got = ReadMemory(pid, address + have, buffer + have, part);
    if (got <= 0) return {};
    const void* nul = memchr(buffer + have, 0, static_cast<size_t>(got));
    if (nul != nullptr) return buffer;
    have += static_cast<size_t>(got);
  }
  return {};
}

UniqueFd Duplicate(uint32_t tid, int fd) {
  UniqueFd pidfd(PidfdOpen(static_cast<int>(tid), O_EXCL));
  if (!pidfd.Valid()) pidfd.Reset(PidfdOpen(static_cast<int>(tid), 0));
  if (!pidfd.Valid()) return UniqueFd();
  return UniqueFd(static_cast<int>(syscall(kSysPidfdGetfd, pidfd.Get(), fd, 0)));
}

UniqueFd OpenDescriptor(uint32_t tid, int number) {
  return UniqueFd(
      open(ProcPath(tid, ("/fd/" + std::to_string(number)).c_str()).c_str(), O_PATH | O_CLOEXEC));
}

UniqueFd OpenInside(uint32_t pid, const std::string& path, uint64_t flags, uid_t uid, gid_t gid) {
  UniqueFd root(open(ProcPath(pid, "/root").c_str(), O_PATH | O_CLOEXEC));
  if (!root.Valid()) return UniqueFd();
  ActingAs user(uid, gid);
  if (!user.Fine()) {
    errno = EACCES;
    return UniqueFd();
  }
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(
      static_cast<int>(syscall(SYS_openat2, root.Get(), path.c_str(), &how, sizeof how)));
}

std::string PlaceOf(int file) {
  char text[PATH_MAX];
  ssize_t size = readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), text, sizeof text);
  if (size <= 0 || size == static_cast<ssize_t>(sizeof text)) return {};
  return std::string(text, static_cast<size_t>(size));
}

uint64_t InodeOf(int file) {
  struct stat status;
  return fstat(file, &status) == 0 ? status.st_ino : 0;
}

bool IsWithin(const std::string& path, const std::string& folder) {
  return folder == "/" || (path.compare(0, folder.size(), folder) == 0 &&
                           (path.size() == folder.size() || path[folder.size()] == '/'));
}

std::string Absolute(uint32_t pid, const char* folder, const std::string& path) {
  if (!path.empty() && path[0] == '/') return path;
  char base[4096];
  ssize_t size = readlink(ProcPath(pid, folder).c_str(), base, sizeof base - 1);
  if (size <= 0) return path;
  base[size] = 0;
  return std::string(base) + "/" + path;
}

}  // namespace holdfast
