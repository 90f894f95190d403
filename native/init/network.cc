#include "network.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw_syscall.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

namespace holdfast {

namespace {

alignas(16) char stack[16 * 1024];
bool begun = false;
int tid = 0;  // cleared by the kernel, with a wake-up, when the thread has ended (clone(2),
              // CLONE_CHILD_CLEARTID)
int namespace_fd = -1;
int thread_error = 0;
const char* thread_call = "clone";
bool has_loopback = false;

// As little as the namespace itself costs, and beside the main thread as well. What fails here is
// done, and said, in its turn.
void RaiseLoopback(long socket) {
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  has_loopback = RawSyscall(SYS_ioctl, socket, SIOCSIFFLAGS, reinterpret_cast<long>(&request)) == 0;
}

// Beside the main thread: raw calls, since errno is one for both (libc.cc).
int MakeNamespace(void*) {
  thread_call = "unshare";
  long result = RawSyscall(SYS_unshare, CLONE_NEWNET);
  if (result == 0) {
    thread_call = "socket";
    result = RawSyscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  }
  if (result >= 0) {
    long socket = result;
    thread_call = "ioctl";
    result = RawSyscall(SYS_ioctl, socket, SIOCGSKNS);
    if (result >= 0) namespace_fd = static_cast<int>(result);
    if (result >= 0) RaiseLoopback(socket);
    RawSyscall(SYS_close, socket);
  }
  if (result < 0) thread_error = static_cast<int>(-result);
  return 0;
}

}  // namespace

void BeginNetworkNamespace() {
  begun = true;
  tid = 1;
  constexpr long kThread =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  long made =
      RawClone(kThread | CLONE_CHILD_CLEARTID, stack + sizeof stack, &tid, MakeNamespace, nullptr);
  if (made >= 0) return;
  thread_error = static_cast<int>(-made);
  tid = 0;
}

int JoinNetworkNamespace(const char** what) {
  if (!begun) return 0;
  begun = false;
  for (;;) {
    int seen = __atomic_load_n(&tid, __ATOMIC_ACQUIRE);
    if (seen == 0) break;
    RawSyscall(SYS_futex, reinterpret_cast<long>(&tid), FUTEX_WAIT, seen);
  }
  *what = thread_call;
  if (thread_error != 0) return thread_error;
  *what = "setns";
  int error = setns(namespace_fd, CLONE_NEWNET) == 0 ? 0 : errno;
  close(namespace_fd);
  return error;
}

bool HasLoopback() { return has_loopback; }

}  // namespace holdfast
