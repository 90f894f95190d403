#include "leader.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>

#include "../kernel.h"

namespace holdfast {

namespace {

[[noreturn]] void Give(LeaderReport* report, ExecStep step) {
  report->error = errno;
  report->step = step;
  _exit(0);
}

// A copy of the init with nothing of the init's but its signal mask: every signal is blocked.
[[noreturn]] void Lead(const LeaderRequest& request, LeaderReport* report, int ready) {
  setsid();
  if (ioctl(request.terminal, TIOCSCTTY, 0) != 0) Give(report, ExecStep::kPty);
  if (request.layer->ruleset_fd >= 0 &&
      syscall(kSysLandlockRestrictSelf, request.layer->ruleset_fd, 0) != 0)
    Give(report, ExecStep::kLandlock);
  pid_t program =
      clone(request.program, request.stack_end, CLONE_VM | CLONE_VFORK | SIGCHLD, request.plan);
  if (program < 0) Give(report, ExecStep::kFork);
  report->program = program;
  report->error = *request.error;
  report->step = *request.step;
  close(ready);
  // The terminal as well: its other end must see the program's last descriptor go.
  if (CloseRange(0, ~0u, 0) != 0) {
    for (int fd = 0; fd < 65536; fd++) close(fd);  // before Linux 5.9
  }
  for (;;) {
    int status = 0;
    if (waitpid(program, &status, WUNTRACED) < 0) {
      if (errno == EINTR) continue;
      _exit(0);
    }
    report->status = status;
    report->ended = !WIFSTOPPED(status);
    if (report->ended) _exit(0);
    // The init sees this as the call's stop, and lets us go on at once.
    kill(getpid(), SIGSTOP);
  }
}

}  // namespace

pid_t StartLeader(const LeaderRequest& request, LeaderReport** report) {
  void* memory = mmap(nullptr, sizeof(LeaderReport), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -1;
  auto* shared = new (memory) LeaderReport;
  int ready[2] = {-1, -1};
  pid_t leader = -1;
  if (pipe2(ready, O_CLOEXEC) == 0) {
    leader = fork();
    if (leader == 0) Lead(request, shared, ready[1]);
    int error = errno;
    close(ready[1]);
    char byte;
    // Its end: the program was started, or the leader is gone.
    while (leader > 0 && read(ready[0], &byte, 1) < 0 && errno == EINTR) {
    }
    close(ready[0]);
    errno = error;
  }
  if (leader < 0) {
    int error = errno;
    ForgetLeader(shared);
    errno = error;
    return -1;
  }
  *report = shared;
  return leader;
}

void ForgetLeader(LeaderReport* report) { munmap(report, sizeof(LeaderReport)); }

}  // namespace holdfast
