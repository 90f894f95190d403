// title: put a listener of one's own before the sandbox's, to answer its notified calls
// kind: kernel
#include "attack.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

static void attack(void) {
  struct sock_filter program[] = {{0x06, 0, 0, 0x7fc00000 /* SECCOMP_RET_USER_NOTIF */}};
  struct sock_fprog filter = {1, program};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // In a child, who waits for an answer for ever.
  pid_t child = fork();
  if (child == 0) {
    alarm(2);
    for (unsigned long flags = 8; flags < 64; flags += 16)
      if (syscall(SYS_seccomp, 1, flags | 1ul << 35, &filter) >= 0 || syscall(SYS_seccomp, 1, flags, &filter) >= 0) _exit(7);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 7) escaped("a listener");
}
