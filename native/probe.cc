#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd.h"
#include "kernel.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace holdfast {

namespace {

// A child of the caller's memory that calls `run` and ends; nothing of the runtime's is touched.
int RunChild(uint64_t flags, int (*run)(void*), void* argument, int* pid) {
  constexpr size_t kProbeStackSize = 32 * 1024;
  void* stack = mmap(nullptr, kProbeStackSize, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return errno;
  int child = clone(run, static_cast<char*>(stack) + kProbeStackSize,
                    static_cast<int>(flags) | CLONE_VM, argument);
  int error = child < 0 ? errno : 0;
  *pid = child;
  if (child > 0 && (flags & CLONE_VFORK)) {
    while (waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  }
  if (child < 0 || (flags & CLONE_VFORK)) munmap(stack, kProbeStackSize);
  return error;
}

int EndAtOnce(void*) { _exit(0); }

struct ExecPlan {
  int fd;
  volatile int error;
};

int ExecMemfd(void* pointer) {
  auto* plan = static_cast<ExecPlan*>(pointer);
  char name[] = "holdfast-probe";
  char* const argv[] = {name, nullptr};
  char* const envp[] = {nullptr};
  syscall(SYS_execveat, plan->fd, "", argv, envp, AT_EMPTY_PATH);
  plan->error = errno;
  _exit(127);
}

}  // namespace

int LandlockAbi(int* error) {
  long abi = syscall(kSysLandlockCreateRuleset, nullptr, 0, kLandlockCreateRulesetVersion);
  *error = abi < 0 ? errno : 0;
  return abi < 0 ? 0 : static_cast<int>(abi);
}

bool SeccompActionAvailable(uint32_t action) {
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int ProbeClone(uint64_t flags) {
  int pid = -1;
  return RunChild(flags | CLONE_VFORK, EndAtOnce, nullptr, &pid);
}

int ProbePidfdGetfd() {
  // Our own process is a fair target: profiles that refuse the call refuse it whatever the target.
  UniqueFd pidfd(PidfdOpen(getpid(), 0));
  if (!pidfd.Valid()) return errno;
  UniqueFd copy(static_cast<int>(syscall(kSysPidfdGetfd, pidfd.Get(), pidfd.Get(), 0)));
  return copy.Valid() ? 0 : errno;
}

int ProbeMemfdExec() {
  // The smallest program that the kernel starts: a script line naming true(1) would need a path, so
  // an ELF header that is refused as ENOEXEC shows that execution itself is permitted.
  int fd = memfd_create("holdfast-probe", MFD_CLOEXEC | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("holdfast-probe", MFD_CLOEXEC);
  if (fd < 0) return errno;
  UniqueFd memfd(fd);
  ExecPlan plan{fd, 0};
  int pid = -1;
  int error = RunChild(CLONE_VFORK, ExecMemfd, &plan, &pid);
  if (error != 0) return error;
  return plan.error == ENOEXEC ? 0 : plan.error;
}

}  // namespace holdfast
