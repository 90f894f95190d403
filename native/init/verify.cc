#include "verify.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../kernel.h"
#include "raw_syscall.h"
#include "setup.h"

namespace holdfast {

namespace {

constexpr int kStands = -1;
constexpr int kProtocolMptcp = 262;  // IPPROTO_MPTCP

// -1 when the attempt failed with the errno that the wall gives, else 0 (it succeeded) or another
// errno. Reads errno itself: as an argument it could be read before the attempt is made.
int Expect(bool succeeded, int wanted) {
  if (succeeded) return 0;
  return errno == wanted ? kStands : errno;
}

int OtherNamespace(const VerifyContext& context, Wall wall, const char* file) {
  struct stat status;
  if (stat(file, &status) != 0) return errno;
  return status.st_ino == context.message.host_ns[static_cast<uint64_t>(wall)] ? 0 : kStands;
}

// Attempts of a child, each behind the layer that a tool call gets: the layers are the child's
// alone. It shares our memory, as a call that is started does, and runs beside us, so that it makes
// raw calls: errno is one for both (libc.cc).
struct ChildAttempt {
  Wall wall;
  int ruleset_fd;
  long (*attempt)();
  int wanted;
  const char* what;
  volatile int result;
};
ChildAttempt child_attempts[2];
int child_attempt_count = 0;
int child = 0;  // cleared by the kernel, with a wake-up, when it has ended (CLONE_CHILD_CLEARTID)

int RunAttempts(void*) {
  for (int i = 0; i < child_attempt_count; i++) {
    ChildAttempt& one = child_attempts[i];
    long behind = one.ruleset_fd < 0 ? 0 : RawSyscall(kSysLandlockRestrictSelf, one.ruleset_fd, 0);
    long result = behind == 0 ? one.attempt() : behind;
    one.result = behind == 0 && result == -one.wanted ? kStands : static_cast<int>(-result);
  }
  return 0;
}

void BeginAttempts() {
  alignas(16) static char stack[16 * 1024];
  child = 1;
  long made = RawClone(CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, stack + sizeof stack, &child,
                       RunAttempts, nullptr);
  if (made >= 0) return;
  child = 0;
  for (ChildAttempt& one : child_attempts) one.result = static_cast<int>(-made);
}

int signalled = 1;
long SignalOutside() { return RawSyscall(SYS_kill, signalled, 0); }

long BindPort() {
  long fd = RawSyscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  // Not below 1024: those answer EACCES to everybody without a capability, Landlock or not.
  address.sin_port = htons(50009);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  long result = RawSyscall(SYS_bind, fd, reinterpret_cast<long>(&address), sizeof address);
  RawSyscall(SYS_close, fd);
  return result;
}

// Whether an interface but `lo` is up. Tunnel modules leave devices of their own in every new
// namespace; down, they carry nothing.
int OtherInterfaceUp(int socket) {
  int list = open("/proc/net/dev", O_RDONLY | O_CLOEXEC);
  if (list < 0) return errno;
  static char text[16 * 1024];
  size_t length = 0;
  ssize_t size;
  while (length < sizeof text - 1 &&
         (size = read(list, text + length, sizeof text - 1 - length)) > 0)
    length += static_cast<size_t>(size);
  close(list);
  text[length] = 0;
  if (length == sizeof text - 1) return EOVERFLOW;  // more than a sandbox ever has
  // Two lines of headings, then `  name: counters`.
  for (const char* line = text; (line = strchr(line, '\n')) != nullptr;) {
    line++;
    while (*line == ' ') line++;
    const char* end = strchrnul(line, ':');
    auto size_of_name = static_cast<size_t>(end - line);
    ifreq request{};
    if (*end == 0 || size_of_name >= sizeof request.ifr_name) continue;
    memcpy(request.ifr_name, line, size_of_name);
    if (strcmp(request.ifr_name, "lo") == 0) continue;
    if (ioctl(socket, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP)) return 0;
  }
  return kStands;
}

int OnlyLoopback() {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int result = OtherInterfaceUp(fd);
  sockaddr_in outside{};
  outside.sin_family = AF_INET;
  outside.sin_port = htons(9);
  outside.sin_addr.s_addr = htonl(0xC0000201);  // 192.0.2.1, RFC 5737
  if (result == kStands && connect(fd, reinterpret_cast<sockaddr*>(&outside), sizeof outside) == 0)
    result = 0;
  close(fd);
  return result;
}

int NoCapabilities(bool bounding) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return errno;
  for (const auto& set : data)
    if (set.effective || set.permitted || set.inheritable) return 0;
  for (int capability = 0, is_in = 0; bounding && is_in >= 0; capability++) {
    is_in = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);  // below 0: past the kernel's last one
    if (is_in > 0) return 0;
  }
  char name[65] = "canary";
  return Expect(sethostname(name, 6) == 0, EPERM);
}

}  // namespace

int Verify(const VerifyContext& context, const char** what) {
  const Operation& op = context.operation;
  switch (static_cast<Wall>(op.numbers[0])) {
    case Wall::kUserNamespace:
      *what = "compare /proc/self/ns/user";
      return OtherNamespace(context, Wall::kUserNamespace, "/proc/self/ns/user");
    case Wall::kMountNamespace:
      *what = "compare /proc/self/ns/mnt";
      return OtherNamespace(context, Wall::kMountNamespace, "/proc/self/ns/mnt");
    case Wall::kPidNamespace:
      *what = "getpid";
      if (getpid() != 1) return 0;
      return OtherNamespace(context, Wall::kPidNamespace, "/proc/self/ns/pid");
    case Wall::kNetworkNamespace: {
      *what = "connect to 192.0.2.1";
      int other = OtherNamespace(context, Wall::kNetworkNamespace, "/proc/self/ns/net");
      return other == kStands ? OnlyLoopback() : other;
    }
    case Wall::kIpcNamespace:
      *what = "compare /proc/self/ns/ipc";
      return OtherNamespace(context, Wall::kIpcNamespace, "/proc/self/ns/ipc");
    case Wall::kUtsNamespace:
      *what = "compare /proc/self/ns/uts";
      return OtherNamespace(context, Wall::kUtsNamespace, "/proc/self/ns/uts");
    case Wall::kCgroupNamespace:
      *what = "compare /proc/self/ns/cgroup";
      return OtherNamespace(context, Wall::kCgroupNamespace, "/proc/self/ns/cgroup");
    case Wall::kReadOnlyRoot: {
      // Each path is a folder that the policy does not make writable.
      *what = "make a folder on a read-only mount";
      for (int i = 0; i < op.string_count; i++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/.holdfast-canary", op.strings[i].data);
        int result = Expect(mkdir(path, 0700) == 0, EROFS);
        if (result == 0) rmdir(path);
        // Without the permission to write there the mount's answer is not reached: the kernel
        // checks the mount first for a new entry, so EACCES means a mount that is not read-only.
        if (result != kStands) return result == EACCES ? 0 : result;
      }
      return kStands;
    }
    case Wall::kCapabilities:
      *what = "sethostname without capabilities";
      return NoCapabilities(op.number_count < 2 || op.numbers[1] != 0);
    case Wall::kNoNewPrivs:
      *what = "read no_new_privs";
      return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? kStands : 0;
    case Wall::kLandlockFilesystem: {
      // A file that the mount view shows and its mode lets everybody read: only Landlock is in the
      // way.
      *what = "open a file that no rule grants";
      int fd = open(op.strings[0].data, O_RDONLY | O_CLOEXEC);
      int result = Expect(fd >= 0, EACCES);
      if (fd >= 0) close(fd);
      return result;
    }
    case Wall::kLandlockNetwork:
      // The signal's child makes it as well.
      if (child_attempt_count == 2 && child_attempts[1].ruleset_fd == context.child_ruleset_fd)
        return kStands;
      child_attempts[0] = {Wall::kLandlockNetwork,
                           context.child_ruleset_fd,
                           BindPort,
                           EACCES,
                           "bind a TCP port that no rule grants",
                           ECHILD};
      child_attempt_count = 1;
      BeginAttempts();
      return kStands;
    case Wall::kLandlockSignal:
      if (context.outsider != 0) {
        // Whom we may not signal, kill(-1) passes over (EndAll).
        *what = "signal a process outside the sandbox";
        int result = Expect(kill(context.outsider, 0) == 0, EPERM);
        if (result != kStands) return result;
        signalled = context.outsider;
      }
      child_attempts[0] = {Wall::kLandlockSignal,
                           context.child_ruleset_fd,
                           SignalOutside,
                           EPERM,
                           "signal a process outside the call",
                           ECHILD};
      child_attempts[1] = {Wall::kLandlockNetwork,
                           context.other_ruleset_fd,
                           BindPort,
                           EACCES,
                           "bind a TCP port that no rule grants",
                           ECHILD};
      child_attempt_count = context.other_ruleset_fd < 0 ? 1 : 2;
      BeginAttempts();
      return kStands;
    case Wall::kLandlockAbstract: {
      *what = "connect to an abstract socket made outside";
      int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      if (fd < 0) return errno;
      sockaddr_un address{};
      socklen_t size = sizeof address;
      if (getsockname(context.abstract_fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return errno;
      int result = Expect(connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0, EPERM);
      close(fd);
      if (context.abstract_fd >= 0) close(context.abstract_fd);
      return result;
    }
    case Wall::kSeccomp:
      if (!HasOwnPids()) {
        // Another user's process is out of reach in any case: a call that is answered as if there
        // were none.
        *what = "call openat2";
        return Expect(syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0) >= 0 || errno == EINVAL,
                      ENOSYS);
      }
      // Setting the priority that we have succeeds for every process but a filtered one: pid 1 is
      // us.
      *what = "setpriority on a process by number";
      return Expect(setpriority(PRIO_PROCESS, 1, 0) == 0, EPERM);
    case Wall::kSocketFilter: {
      // Multipath TCP speaks to every TCP server, and Landlock sees none of it (kernel-notes A1).
      // Answered by the filter itself: nobody is asked yet.
      *what = "make a socket of multipath TCP";
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, kProtocolMptcp);
      int result = Expect(fd >= 0, EPROTONOSUPPORT);
      if (fd >= 0) close(fd);
      if (result != kStands) return result;
      *what = "let programs share a port";
      // On no descriptor: the filter answers first, and the kernel would that it is bad.
      int on = 1;
      return Expect(setsockopt(-1, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 || errno == EBADF,
                    EPERM);
    }
    case Wall::kNotDumpable:
      *what = "read dumpable";
      return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? kStands : 0;
  }
  *what = "unknown wall";
  return EINVAL;
}

int FinishAttempts(Wall* wall, const char** what) {
  // Not by wait4(2), which the filter may hand to the broker, and that does not answer yet. It is
  // reaped with the orphans.
  for (;;) {
    int seen = __atomic_load_n(&child, __ATOMIC_ACQUIRE);
    if (seen == 0) break;
    RawSyscall(SYS_futex, reinterpret_cast<long>(&child), FUTEX_WAIT, seen);
  }
  for (int i = 0; i < child_attempt_count; i++) {
    const ChildAttempt& one = child_attempts[i];
    if (one.result == kStands) continue;
    *wall = one.wall;
    *what = one.what;
    return one.result;
  }
  return kStands;
}

}  // namespace holdfast
