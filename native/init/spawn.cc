#include "spawn.h"

#include <asm/termbits.h>  // struct termios2; <termios.h> cannot be included beside it
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kernel.h"
#include "leader.h"

namespace holdfast {

namespace {

// One child at a time is between vfork and exec, so one stack and one argument list are enough.
alignas(16) char child_stack[64 * 1024];
char* arguments[kMaxArguments];

struct ChildPlan {
  const char* file;
  const char* cwd;
  const char* search_path;
  char** argv;
  char** envp;
  int stdio[3];
  bool search;
  bool no_interpreter;
  int pty_slave;  // the session's terminal: then a leader stands above, and has put the layer on
  mode_t umask_;
  const Layer* layer;
  const ChildRlimit* rlimits;
  int rlimit_count;
  // Written by the child, read by the parent: they share memory until the exec (CLONE_VM).
  volatile int error;
  volatile ExecStep step;
};

[[noreturn]] void Give(ChildPlan* plan, ExecStep step) {
  plan->error = errno;
  plan->step = step;
  _exit(127);
}

// As execvp(3): what the kernel takes for no program at all is a script for the shell.
void Execute(ChildPlan* plan, const char* path) {
  execve(path, plan->argv, plan->envp);
  if (errno == ENOENT) {
    plan->no_interpreter = plan->no_interpreter || access(path, F_OK) == 0;
    errno = ENOENT;
  }
  if (errno != ENOEXEC) return;
  static char shell[] = "/bin/sh";
  char** argv = plan->argv - 1;  // Spawn left a place free
  argv[0] = shell;
  argv[1] = const_cast<char*>(path);
  execve(shell, argv, plan->envp);
}

void Exec(ChildPlan* plan) {
  if (!plan->search || strchr(plan->file, '/') != nullptr) {
    Execute(plan, plan->file);
    return;
  }
  // As execvp(3): a file that may not be run is reported only when no later folder has one that
  // may.
  int denied = 0;
  for (const char* at = plan->search_path; *at != 0;) {
    const char* end = strchrnul(at, ':');
    char path[4096];
    auto length = static_cast<size_t>(end - at);
    if (length > 0 && *plan->file != 0 && length + strlen(plan->file) + 2 < sizeof path) {
      memcpy(path, at, length);
      path[length] = '/';
      memcpy(path + length + 1, plan->file, strlen(plan->file) + 1);
      Execute(plan, path);
      if (errno == EACCES)
        denied = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR)
        return;
    }
    at = *end == 0 ? end : end + 1;
  }
  errno = denied != 0 ? denied : ENOENT;
}

// Runs in the init's memory: no allocation, no stdio, no locks; everything it needs lies in the
// plan.
int Child(void* pointer) {
  auto* plan = static_cast<ChildPlan*>(pointer);
  if (plan->pty_slave < 0) {
    setsid();
  } else {
    // As a shell starts a job: a group of its own, in the terminal's foreground.
    pid_t group = getpid();
    if (setpgid(0, 0) != 0 || ioctl(plan->pty_slave, TIOCSPGRP, &group) != 0)
      Give(plan, ExecStep::kPty);
  }
  for (int i = 0; i < 3; i++) {
    if (dup2(plan->stdio[i], i) < 0) Give(plan, ExecStep::kDescriptors);
  }
  umask(plan->umask_);
  if (chdir(plan->cwd) != 0) Give(plan, ExecStep::kDirectory);
  for (int i = 0; i < plan->rlimit_count; i++) {
    if (syscall(SYS_prlimit64, 0, plan->rlimits[i].resource, &plan->rlimits[i].value, nullptr) != 0)
      Give(plan, ExecStep::kDescriptors);
  }
  // The layer puts the child's domain below the init's: from here on it cannot signal the init, and
  // no sibling it.
  if (plan->pty_slave < 0 && plan->layer->ruleset_fd >= 0 &&
      syscall(kSysLandlockRestrictSelf, plan->layer->ruleset_fd, 0) != 0)
    Give(plan, ExecStep::kLandlock);
  if (plan->layer->filter != nullptr) {
    sock_fprog program{plan->layer->filter_length,
                       static_cast<sock_filter*>(const_cast<void*>(plan->layer->filter))};
    if (syscall(SYS_seccomp, kSeccompSetModeFilter, 0, &program) != 0)
      Give(plan, ExecStep::kSeccomp);
  }
  // Marked, not closed: the exec closes them, and a failure before it can still be told.
  if (CloseRange(3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) != 0) {
    for (int fd = 3; fd < 65536; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);  // before Linux 5.11
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  Exec(plan);
  Give(plan, errno == ENOENT && plan->no_interpreter ? ExecStep::kInterpreter : ExecStep::kExecve);
}

// A pseudo terminal of the sandbox's own devpts: the caller's is never handed in (TIOCSTI,
// termios).
int OpenPty(const ExecMessage& message, int* slave) {
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) return -1;
  int unlock = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) == 0) {
    *slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*slave >= 0) {
      winsize size{message.rows, message.columns, 0, 0};
      ioctl(master, TIOCSWINSZ, &size);
      // As the caller's terminal is set, so that an erase key erases; else for UTF-8, which is what
      // LANG says.
      termios2 settings;
      static_assert(sizeof settings == sizeof message.terminal, "struct termios2");
      memcpy(&settings, message.terminal, sizeof settings);
      if (settings.c_cflag == 0 && ioctl(*slave, TCGETS2, &settings) == 0)
        settings.c_iflag |= IUTF8;
      if (settings.c_cflag != 0) ioctl(*slave, TCSETS2, &settings);
      return master;
    }
  }
  int error = errno;
  close(master);
  errno = error;
  return -1;
}

}  // namespace

SpawnResult Spawn(const Setup& setup, const SpawnRequest& request) {
  SpawnResult result;
  const ExecMessage& message = *request.message;
  const Layer* layer = setup.layer(message.layer);
  result.step = ExecStep::kProtocol;
  result.error = EINVAL;
  if (layer == nullptr || message.layer == 0 ||
      static_cast<uint64_t>(message.argc) + message.envc + 3 > kMaxArguments || message.argc == 0)
    return result;
  const char* at = request.strings;
  const char* end = request.strings + request.strings_size;
  auto next = [&]() -> const char* {
    if (at >= end) return nullptr;
    const char* found = at;
    const void* nul = memchr(at, 0, static_cast<size_t>(end - at));
    if (nul == nullptr) return nullptr;
    at = static_cast<const char*>(nul) + 1;
    return found;
  };
  ChildPlan plan{};
  plan.file = next();
  plan.cwd = next();
  plan.search_path = next();
  if (plan.search_path == nullptr) return result;
  plan.argv = arguments + 1;
  size_t slot = 1;
  for (uint32_t i = 0; i < message.argc; i++) arguments[slot++] = const_cast<char*>(next());
  arguments[slot++] = nullptr;
  plan.envp = arguments + slot;
  for (uint32_t i = 0; i < message.envc; i++) arguments[slot++] = const_cast<char*>(next());
  arguments[slot] = nullptr;
  for (size_t i = 1; i < slot; i++)
    if (arguments[i] == nullptr && i != message.argc + 1) return result;
  plan.search = (message.flags & kExecSearchPath) != 0;
  plan.umask_ = message.umask_;
  plan.layer = layer;
  plan.rlimits = setup.rlimits();
  plan.rlimit_count = setup.rlimit_count();
  plan.pty_slave = -1;

  int null_fd = -1;
  if (message.flags & kExecPty) {
    result.pty_master = OpenPty(message, &plan.pty_slave);
    if (result.pty_master < 0) {
      result.step = ExecStep::kPty;
      result.error = errno;
      return result;
    }
  }
  for (int i = 0; i < 3; i++) {
    plan.stdio[i] = request.stdio[i];
    if ((message.flags & kExecPty) && (message.pty_mask & (1u << i)))
      plan.stdio[i] = plan.pty_slave;
    if (i == 2 && (message.flags & kExecMergeStderr)) plan.stdio[i] = plan.stdio[1];
    if (plan.stdio[i] < 0) {
      if (null_fd < 0) null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
      plan.stdio[i] = null_fd;
    }
  }
  char* stack_end = child_stack + sizeof child_stack;
  if (plan.pty_slave >= 0) {
    result.pid = StartLeader(
        {plan.pty_slave, layer, Child, &plan, stack_end, &plan.error, &plan.step}, &result.leader);
    if (result.pid > 0) {
      result.program = result.leader->program;
      plan.step = result.leader->step;
      plan.error = result.leader->error;
      if (plan.error == 0 && result.program < 0) plan.error = ECHILD;  // killed before it began
    }
  } else {
    // vfork, not fork: twice as cheap, and nothing of ours is copied. The parent waits until the
    // exec.
    result.pid = result.program = clone(Child, stack_end, CLONE_VM | CLONE_VFORK | SIGCHLD, &plan);
  }
  result.step = result.pid < 0 ? ExecStep::kFork : plan.step;
  result.error = result.pid < 0 ? errno : plan.error;
  if (null_fd >= 0) close(null_fd);
  if (plan.pty_slave >= 0) close(plan.pty_slave);
  if (result.error != 0 && result.pty_master >= 0) {
    close(result.pty_master);
    result.pty_master = -1;
  }
  return result;
}

}  // namespace holdfast
