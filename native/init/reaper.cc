#include "reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire.h"
#include "directory.h"

namespace holdfast {

namespace {

constexpr int kPidFd = 4;

// The list of what to clear is a memfd that the launcher writes and we read when it is gone
// (lib/sandbox/reaper.ts): telling us costs it one write, and wakes nobody.
// A record: a header, then NUL-terminated paths. Its kind:
//   t  trees to remove             f  files or sockets to remove
//   g  cgroups: end what is in them, then remove them
//   q  protected names that were not there before: put them out of reach by another name
//   r  folders to remove if they are empty, after all else
//   -  not in use
struct Record {
  uint32_t size;  // header included
  char kind;
  char reserved[3];
};

constexpr int kDeepest = 64;  // folders below this many are brought up before they are emptied

int brought_up = 0;

// No link is followed and no other file system entered: the tree was a sandbox's to write, as deep
// as it liked. `top` is the tree's own folder once it is open.
void RemoveTree(int parent, const char* name, dev_t device, int top, int depth) {
  if (unlinkat(parent, name, 0) == 0) return;
  if (depth > kDeepest) {
    char up[32];
    snprintf(up, sizeof up, ".holdfast-removal-%d", brought_up++);
    renameat(parent, name, top, up);
    return;
  }
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    // An overlay's work folder has mode 0.
    if (fchmodat(parent, name, 0700, 0) != 0) return;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
  }
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_dev == device &&
      ((status.st_mode & 0700) == 0700 || fchmod(fd, 0700) == 0)) {
    Directory directory(fd);
    while (const char* entry = directory.Next())
      RemoveTree(fd, entry, device, top < 0 ? fd : top, depth + 1);
  }
  close(fd);
  unlinkat(parent, name, AT_REMOVEDIR);
}

// The first thing on the way that is no folder was planted, or else the name itself; a link is
// renamed, never followed, so nothing outside the workspace is touched.
void PutAside(const char* path) {
  int folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (const char* at = path; folder >= 0;) {
    while (*at == '/') at++;
    const char* end = strchrnul(at, '/');
    const char* next_part = end;
    while (*next_part == '/') next_part++;
    char name[NAME_MAX + 1];
    auto length = static_cast<size_t>(end - at);
    if (length == 0 || length > NAME_MAX) break;
    memcpy(name, at, length);
    name[length] = 0;
    struct stat status;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0) break;  // nothing was planted
    if (*next_part == 0 || !S_ISDIR(status.st_mode)) {
      // All names of several components begin so; a folder above the workspace is not ours.
      if (*next_part != 0 && name[0] != '.') break;
      char aside[NAME_MAX + 32];
      snprintf(aside, sizeof aside, "%s.refused-by-holdfast", name);
      renameat(folder, name, folder, aside);
      break;
    }
    int next = openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(folder);
    folder = next;
    at = next_part;
  }
  if (folder >= 0) close(folder);
}

// One number a line, none cut in two: a cgroup that has more than fit is read again.
void KillListed(int list) {
  char text[16384];
  ssize_t size = read(list, text, sizeof text - 1);
  if (size <= 0) return;
  text[size] = 0;
  if (size == sizeof text - 1) {
    char* last = strrchr(text, '\n');
    if (last != nullptr) *last = 0;
  }
  for (char* at = text; *at != 0;) {
    char* end;
    auto pid = static_cast<pid_t>(strtoull(at, &end, 10));
    if (end == at) return;
    // 0 is a process of another pid namespace; to kill(2) it would be our own group.
    if (pid > 0) kill(pid, SIGKILL);
    at = end;
    while (*at == '\n') at++;
  }
}

void KillCgroup(const char* path) {
  char file[4200];
  snprintf(file, sizeof file, "%s/cgroup.kill", path);
  int all = open(file, O_WRONLY | O_CLOEXEC);  // v2, Linux 5.14
  if (all >= 0) {
    ssize_t ignored = write(all, "1", 1);  // what is left is killed one by one
    static_cast<void>(ignored);
    close(all);
  }
  snprintf(file, sizeof file, "%s/cgroup.procs", path);
  for (int round = 0; round < 200; round++) {
    int list = open(file, O_RDONLY | O_CLOEXEC);
    if (list < 0) return;
    KillListed(list);
    close(list);
    if (rmdir(path) == 0 || errno == ENOENT) return;
    usleep(5000);
  }
}

void Clear(char kind, const char* path) {
  switch (kind) {
    case 't':
      // Again while an init, which dies with the launcher, is still at its last system call there,
      // and while there is more that was brought up.
      for (int round = 0; round < 100; round++) {
        struct stat status;
        if (lstat(path, &status) != 0) break;
        int before = brought_up;
        RemoveTree(AT_FDCWD, path, status.st_dev, -1, 0);
        if (brought_up != before)
          round = 0;
        else
          usleep(2000);
      }
      break;
    case 'f':
      unlink(path);
      break;
    case 'r':
      rmdir(path);
      break;
    case 'g':
      KillCgroup(path);
      break;
    case 'q': {
      PutAside(path);
      break;
    }
    default:
      break;
  }
}

// One pass over the list, over folders or over all else. A record that the launcher was killed in
// the middle of reaches beyond the end.
void ClearAll(const char* list, size_t size, bool folders) {
  for (size_t at = 0; at + sizeof(Record) <= size;) {
    Record record;
    memcpy(&record, list + at, sizeof record);
    if (record.size <= sizeof record || record.size > size - at) return;
    const char* path = list + at + sizeof record;
    const char* end = list + at + record.size;
    if (record.kind != '-' && (record.kind == 'r') == folders) {
      while (path < end && *path != 0) {
        size_t length = strnlen(path, static_cast<size_t>(end - path));
        if (path + length == end) break;
        Clear(record.kind, path);
        path += length + 1;
      }
    }
    at += record.size;
  }
}

}  // namespace

int Reap() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  setsid();
  if (chdir("/") != 0) return 1;
  pollfd launcher{kPidFd, POLLIN, 0};
  while (poll(&launcher, 1, -1) < 0 && errno == EINTR) {
  }
  struct stat status;
  if (fstat(kControlFd, &status) != 0 || status.st_size <= 0) return 0;
  auto size = static_cast<size_t>(status.st_size);
  void* list = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, kControlFd, 0);
  if (list == MAP_FAILED) return 1;
  ClearAll(static_cast<const char*>(list), size, false);
  ClearAll(static_cast<const char*>(list), size, true);
  return 0;
}

}  // namespace holdfast
