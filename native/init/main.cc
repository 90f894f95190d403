// The init of a sandbox: pid 1, started from a sealed memfd. It raises the walls that the plan in
// its set-up program names, proves each of them, and then starts what it is asked to start. It
// decides nothing.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <new>

#include "../fdpass.h"
#include "../wire.h"
#include "cgroup_events.h"
#include "network.h"
#include "reaper.h"
#include "serve.h"
#include "setup.h"

namespace holdfast {
namespace {

void Report(const Failure& failure) {
  FailedMessage message{};
  message.type = MessageType::kFailed;
  message.index = failure.index;
  message.code = static_cast<uint16_t>(failure.code);
  message.wall = failure.wall;
  message.error = failure.error;
  snprintf(message.syscall, sizeof message.syscall, "%s", failure.syscall);
  snprintf(message.path, sizeof message.path, "%s", failure.path);
  SendPacket(kControlFd, &message, sizeof message, nullptr, 0, 0);
}

// When the host runs out of memory, what is confined goes first: much of what it can take is the
// kernel's, of which no process is seen to be the owner. Whoever raised it cannot lower it again
// inside, where proc is read-only.
void GoFirst() {
  int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  char text[16];
  ssize_t size = read(fd, text, sizeof text - 1);
  text[size > 0 ? size : 0] = 0;
  if (strtoull(text, nullptr, 10) < 500) {
    ssize_t ignored = pwrite(fd, "500", 3, 0);
    static_cast<void>(ignored);
  }
  close(fd);
}

int Init() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  // Handlers do not survive an exec but ignored signals do: the launcher's runtime ignores two,
  // whoever started it perhaps others (nohup). Before the filter, which may hold SIGXFSZ to its
  // default.
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  DieWithLauncher();
  if (!HasOwnPids()) {
    // What loses its parent comes to us, and hears nothing of the launcher's terminal.
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return 1;
    setsid();
  }
  GoFirst();
  // Sources of binds and descriptors in flight, whatever the caller's soft limit.
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  SetupMessage message{};
  int fds[kMaxPassedFds];
  int fd_count = kMaxPassedFds;
  // Comes after the launcher has written the id maps.
  ssize_t size = ReceivePacket(kControlFd, &message, sizeof message, fds, &fd_count, 0);
  if (size != static_cast<ssize_t>(sizeof message) || message.type != MessageType::kSetup ||
      fd_count < 1)
    return 1;
  void* program = mmap(nullptr, message.size, PROT_READ, MAP_PRIVATE, fds[0], 0);
  if (program == MAP_FAILED) return 1;
  close(fds[0]);
  static Setup* setup = nullptr;
  alignas(Setup) static char place[sizeof(Setup)];
  // The last descriptors are the cgroup's counters; those before them belong to the program.
  int counters[kCgroupEventFiles];
  for (int i = kCgroupEventFiles - 1; i >= 0; i--)
    counters[i] = (message.cgroup_events & 1u << i) && fd_count > 1 ? fds[--fd_count] : -1;
  setup = new (place) Setup(message, fds + 1, fd_count - 1);
  if (!setup->Run(static_cast<const uint8_t*>(program), message.size)) {
    Report(setup->failure());
    return 1;
  }
  ReadyMessage ready{MessageType::kReady, 0};
  const int given[kReadyFds] = {setup->listener_fd(), setup->sockets_fd(), setup->egress_fd(0),
                                setup->egress_fd(1),  setup->egress_fd(2), setup->handed_fd()};
  int broker[kReadyFds];
  int broker_count = 0;
  for (int i = 0; i < kReadyFds; i++) {
    if (given[i] < 0) continue;
    ready.given |= 1u << i;
    broker[broker_count++] = given[i];
  }
  if (SendPacket(kControlFd, &ready, sizeof ready, broker, broker_count, 0) != 0) return 1;
  Event event{};
  event.type = EventType::kReady;
  if (write(kEventsFd, &event, sizeof event) != static_cast<ssize_t>(sizeof event)) return 1;
  for (int i = 0; i < broker_count; i++) close(broker[i]);
  if (!HasOwnPids() && !OutliveLauncher()) return 1;
  Serve(*setup, CgroupEvents(counters, message.memory_limit));
  setup->EndAll();
  return 0;
}

}  // namespace
}  // namespace holdfast

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "reaper") == 0) return holdfast::Reap();
  // First of all: it is what the rest has to wait for.
  if (argc > 1 && strcmp(argv[1], "network") == 0) holdfast::BeginNetworkNamespace();
  return holdfast::Init();
}
