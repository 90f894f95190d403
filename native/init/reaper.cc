#include "reaper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fdpass.h"
#include "../wire.h"

namespace holdfast {

namespace {

constexpr int kMaxEntries = 4096;
constexpr int kPidFd = 4;

// A request is '+' or '-', a kind, and a path; a packet holds several, each with its NUL.
//   t  a tree to remove            f  one file or socket to remove
//   g  a cgroup: end what is in it, then remove it
//   q  a protected name that was not there before: put it out of reach by another name
//   r  a folder to remove if it is empty
struct Entry {
  char kind;
  char* path;
};

Entry entries[kMaxEntries];
int entry_count = 0;

// No link is followed and no other file system entered: the tree was a sandbox's to write.
void RemoveTree(int parent, const char* name, dev_t device, int depth) {
  if (unlinkat(parent, name, 0) == 0 || depth > 512) return;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    // An overlay's work folder has mode 0.
    if (fchmodat(parent, name, 0700, 0) != 0) return;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
  }
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_dev == device) {
    if ((status.st_mode & 0700) != 0700 && fchmod(fd, 0700) != 0)
      depth = 512;  // what cannot be emptied stays
    DIR* directory = fdopendir(fd);
    if (directory != nullptr) {
      while (dirent* entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        RemoveTree(dirfd(directory), entry->d_name, device, depth + 1);
      }
      closedir(directory);
    }
  } else {
    close(fd);
  }
  unlinkat(parent, name, AT_REMOVEDIR);
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
    FILE* list = fopen(file, "re");
    if (list == nullptr) return;
    int pid;
    // 0 is a process of another pid namespace; to kill(2) it would be our own group.
    while (fscanf(list, "%d", &pid) == 1)
      if (pid > 0) kill(pid, SIGKILL);
    fclose(list);
    if (rmdir(path) == 0 || errno == ENOENT) return;
    usleep(5000);
  }
}

void Clear(const Entry& entry) {
  switch (entry.kind) {
    case 't': {
      struct stat status;
      if (lstat(entry.path, &status) == 0) RemoveTree(AT_FDCWD, entry.path, status.st_dev, 0);
      break;
    }
    case 'f':
      unlink(entry.path);
      break;
    case 'r':
      rmdir(entry.path);
      break;
    case 'g':
      KillCgroup(entry.path);
      break;
    case 'q': {
      char aside[4400];
      snprintf(aside, sizeof aside, "%s.refused-by-holdfast", entry.path);
      if (rename(entry.path, aside) != 0) break;  // not there: nothing was planted
      break;
    }
    default:
      break;
  }
}

void Take(const char* packet) {
  if (packet[0] == '+' && entry_count < kMaxEntries) {
    entries[entry_count++] = {packet[1], strdup(packet + 2)};
    return;
  }
  if (packet[0] != '-') return;
  for (int i = entry_count - 1; i >= 0; i--) {
    if (entries[i].kind != packet[1] || strcmp(entries[i].path, packet + 2) != 0) continue;
    free(entries[i].path);
    memmove(&entries[i], &entries[i + 1], static_cast<size_t>(entry_count - i - 1) * sizeof(Entry));
    entry_count--;
    return;
  }
}

}  // namespace

int Reap() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  setsid();
  if (chdir("/") != 0) return 1;
  static char packet[128 * 1024];
  pollfd sources[2] = {
      {kControlFd, POLLIN, 0},
      {kPidFd,     POLLIN, 0}
  };
  for (;;) {
    if (poll(sources, 2, -1) < 0 && errno != EINTR) break;
    if (sources[0].revents != 0) {
      int fds[1];
      int fd_count = 1;
      ssize_t size =
          ReceivePacket(kControlFd, packet, sizeof packet - 1, fds, &fd_count, MSG_DONTWAIT);
      if (size == 0) break;
      if (size > 0) {
        packet[size] = 0;
        for (const char* at = packet; at < packet + size; at += strlen(at) + 1) Take(at);
      }
      continue;
    }
    if (sources[1].revents != 0) break;
  }
  // Newest first: a folder is emptied before it is removed.
  for (int i = entry_count - 1; i >= 0; i--) Clear(entries[i]);
  return 0;
}

}  // namespace holdfast
