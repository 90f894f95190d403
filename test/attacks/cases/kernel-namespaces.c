// title: make or enter a namespace, by each call and flag
// kind: kernel
#include "attack.h"

static void attack(void) {
  const int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80 /* CLONE_NEWTIME */};
  const char* names[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[64];
    for (int each = 0; each < 3; each++) {
      snprintf(path, sizeof path, "/proc/%d/ns/%s", each == 0 ? 1 : each == 1 ? atoi(get("pid")) : getpid(), names[i]);
      int fd = open(path, O_RDONLY);
      if (fd >= 0 && setns(fd, 0) == 0) escaped(path);
    }
  }
  int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    if (setns(pidfd, flags[i]) == 0) escaped("setns by pidfd");
    // To clone the low byte is a signal.
    long child = flags[i] == 0x80 ? -1 : syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    if (child > 0) escaped("clone");
    uint64_t arguments[11] = {(uint64_t)flags[i], 0, 0, 0, SIGCHLD};
    child = syscall(435 /* clone3 */, arguments, 88);
    if (child == 0) _exit(0);
    if (child > 0) escaped("clone3");
    if (syscall(SYS_unshare, flags[i]) == 0) escaped("unshare");
    if (syscall(SYS_unshare, (uint64_t)flags[i] | 1ull << 40) == 0) escaped("unshare with a high bit");
  }
}
