#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <new>

#include "../fdpass.h"
#include "files.h"
#include "spawn.h"
#include "watch.h"

namespace holdfast {

namespace {

constexpr size_t kMaxPacket = 256 * 1024;
constexpr size_t kMaxPayload =
    8 * 1024 * 1024;  // argv and environment; the kernel's own limit is lower

int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

uint64_t CpuTimeOf(const struct rusage& usage) {
  return static_cast<uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
         static_cast<uint64_t>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

class Server {
 public:
  Server(const Setup& setup, const CgroupEvents& cgroup) : setup_(setup), cgroup_(cgroup) {}
  void Run();

 private:
  bool Receive();
  void Exec(const ExecMessage& message, const char* strings, size_t size, const int* fds,
            int fd_count);
  void Signal(const SignalMessage& message);
  void File(const FileMessage& message, const char* strings, size_t size, const int* fds,
            int fd_count);
  void MakeSocket(const SocketMessage& message);
  void Reap();
  bool Exceeded(int status, int signal, int resource) const;
  bool UsedUp(const struct rusage& usage) const;
  bool OutgrewMemory(const struct rusage& usage);
  void Look();
  bool AnyAlive() const;
  int UntilLook() const;
  void Enforce(const LimitReached& reached);
  void EnforceMemory(uint32_t call);
  void Send(EventType type, uint32_t id, int32_t value, uint32_t detail,
            const struct rusage* usage);
  Call* ByLeader(pid_t pid);
  Call* ById(uint32_t id);
  void Forget(Call* call);
  bool AnyTool() const { return tool_count_ > 0; }

  const Setup& setup_;
  CgroupEvents cgroup_;
  Call calls_[kMaxCalls];
  int call_count_ = 0;
  bool watched_ = false;
  bool is_kill_unexplained_ = false;  // of memory, by the kernel
  int interval_ms_ = kFirstWatchMs;
  int64_t due_ms_ = 0;
  // Children of file operations, kept apart: they are the init's own and count for no limit.
  Call tools_[kMaxCalls];
  int tool_count_ = 0;
  alignas(8) char packet_[kMaxPacket];
};

void Server::Send(EventType type, uint32_t id, int32_t value, uint32_t detail,
                  const struct rusage* usage) {
  Event event{};
  event.type = type;
  event.id = id;
  event.value = value;
  event.detail = detail;
  if (usage != nullptr) {
    event.user_us = static_cast<uint64_t>(usage->ru_utime.tv_sec) * 1000000u +
                    static_cast<uint64_t>(usage->ru_utime.tv_usec);
    event.system_us = static_cast<uint64_t>(usage->ru_stime.tv_sec) * 1000000u +
                      static_cast<uint64_t>(usage->ru_stime.tv_usec);
    event.max_rss_bytes = static_cast<uint64_t>(usage->ru_maxrss) * 1024;
  }
  const auto* at = reinterpret_cast<const char*>(&event);
  size_t left = sizeof event;
  while (left > 0) {
    ssize_t sent = send(kEventsFd, at, left, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) {  // nobody is left to report to
      setup_.EndAll();
      _exit(0);
    }
    at += sent;
    left -= static_cast<size_t>(sent);
  }
}

Call* Server::ByLeader(pid_t pid) {
  for (int i = 0; i < call_count_; i++)
    if (calls_[i].leader == pid) return &calls_[i];
  return nullptr;
}

Call* Server::ById(uint32_t id) {
  for (int i = 0; i < call_count_; i++)
    if (calls_[i].id == id) return &calls_[i];
  return nullptr;
}

void Server::Forget(Call* call) { *call = calls_[--call_count_]; }

void Server::Exec(const ExecMessage& message, const char* strings, size_t size, const int* fds,
                  int fd_count) {
  void* payload = nullptr;
  int first = 0;
  if (message.flags & kExecPayloadFd) {
    if (fd_count < 1 || message.payload_size > kMaxPayload) {
      Send(EventType::kFailed, message.id, EPROTO, static_cast<uint32_t>(ExecStep::kProtocol),
           nullptr);
      return;
    }
    // A sealed memfd of the addon's own making: it cannot shrink under the mapping.
    payload = mmap(nullptr, message.payload_size, PROT_READ, MAP_PRIVATE, fds[0], 0);
    if (payload == MAP_FAILED) {
      Send(EventType::kFailed, message.id, errno, static_cast<uint32_t>(ExecStep::kProtocol),
           nullptr);
      return;
    }
    strings = static_cast<const char*>(payload);
    size = message.payload_size;
    first = 1;
  }
  if (call_count_ == 0) {
    // What the last call left running may have met a limit: that is not this one's doing.
    cgroup_.MemoryReached();
    cgroup_.ProcessesReached();
  }
  SpawnRequest request{
      &message, strings, size, {-1, -1, -1}
  };
  // The descriptors come in order; a place that gets none says so in the mask's upper half.
  for (int i = 0; i < 3; i++)
    if (!(message.pty_mask & (1u << (16 + i))) && first < fd_count) request.stdio[i] = fds[first++];
  SpawnResult result{};
  if (call_count_ < kMaxCalls) {
    result = Spawn(setup_, request);
  } else {
    result.error = EAGAIN;
    result.step = ExecStep::kFork;
  }
  if (payload != nullptr) munmap(payload, message.payload_size);
  if (result.error != 0) {
    // A child that failed before its exec is reaped here, unseen by anybody.
    if (result.pid > 0) waitpid(result.pid, nullptr, 0);
    if (result.leader != nullptr) ForgetLeader(result.leader);
    Send(EventType::kFailed, message.id, result.error, static_cast<uint32_t>(result.step), nullptr);
    return;
  }
  if (result.pty_master >= 0) {
    uint32_t header[2] = {static_cast<uint32_t>(MessageType::kPtyMaster), message.id};
    SendPacket(kControlFd, header, sizeof header, &result.pty_master, 1, 0);
    close(result.pty_master);
  }
  calls_[call_count_++] = {message.id,    result.pid, result.program,
                           result.leader, false,      (message.flags & kExecKillTreeOnExit) != 0};
  interval_ms_ = kFirstWatchMs;
  due_ms_ = NowMs() + interval_ms_;
  if (!(message.flags & kExecQuiet))
    Send(EventType::kStarted, message.id, result.program, static_cast<uint32_t>(result.pid),
         nullptr);
}

void Server::Signal(const SignalMessage& message) {
  Call* call = ById(message.id);
  if (call == nullptr) return;
  if (message.whole_tree) {
    KillTree(*call);
  } else {
    // The program's process group; others that it made hear it from their terminal or parent.
    kill(-call->program, message.signal);
  }
}

void Server::File(const FileMessage& message, const char* strings, size_t size, const int* fds,
                  int fd_count) {
  pid_t child = tool_count_ < kMaxCalls ? fork() : -1;
  if (child == 0) {
    if (message.type == MessageType::kFileOpen) OpenFile(setup_, message, strings, size);
    WriteFile(setup_, message, strings, size, fd_count > 0 ? fds[0] : -1);
  }
  if (child < 0) {
    Send(EventType::kFileDone, message.id, EAGAIN, 0, nullptr);
    return;
  }
  tools_[tool_count_++] = {message.id, child};
}

// Unconnected: whoever gets it connects it, by a call that no filter of ours looks at.
void Server::MakeSocket(const SocketMessage& message) {
  int fd = socket(static_cast<int>(message.family), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0) {
    uint32_t header[2] = {static_cast<uint32_t>(MessageType::kSocketMade), message.id};
    // It is taken when we have said that it is there: to wait for room here would be for ever.
    error = SendPacket(kControlFd, header, sizeof header, &fd, 1, MSG_DONTWAIT);
    close(fd);
  }
  Send(EventType::kSocketDone, message.id, error, 0, nullptr);
}

bool Server::Receive() {
  int fds[kMaxPassedFds];
  int fd_count = kMaxPassedFds;
  ssize_t size = ReceivePacket(kControlFd, packet_, sizeof packet_, fds, &fd_count, MSG_DONTWAIT);
  if (size == -EAGAIN) return true;
  if (size <= 0) return false;
  auto length = static_cast<size_t>(size);
  MessageType type{};
  if (length >= sizeof type) memcpy(&type, packet_, sizeof type);
  switch (type) {
    case MessageType::kExec:
      if (length >= sizeof(ExecMessage))
        Exec(*reinterpret_cast<ExecMessage*>(packet_), packet_ + sizeof(ExecMessage),
             length - sizeof(ExecMessage), fds, fd_count);
      break;
    case MessageType::kSignal:
      if (length >= sizeof(SignalMessage)) Signal(*reinterpret_cast<SignalMessage*>(packet_));
      break;
    case MessageType::kFileOpen:
    case MessageType::kFileWrite:
      if (length >= sizeof(FileMessage))
        File(*reinterpret_cast<FileMessage*>(packet_), packet_ + sizeof(FileMessage),
             length - sizeof(FileMessage), fds, fd_count);
      break;
    case MessageType::kSocket:
      if (length >= sizeof(SocketMessage)) MakeSocket(*reinterpret_cast<SocketMessage*>(packet_));
      break;
    default:
      break;
  }
  for (int i = 0; i < fd_count; i++) close(fds[i]);
  return true;
}

void Server::Reap() {
  for (;;) {
    int status = 0;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG | WUNTRACED, &usage);
    if (pid <= 0) return;
    for (int i = 0; i < tool_count_; i++) {
      if (tools_[i].leader != pid || WIFSTOPPED(status)) continue;
      Send(EventType::kFileDone, tools_[i].id, WIFEXITED(status) ? 0 : EIO, 0, nullptr);
      tools_[i] = tools_[--tool_count_];
      pid = 0;
      break;
    }
    Call* call = pid > 0 ? ByLeader(pid) : nullptr;
    if (call == nullptr) {  // an orphan that came to us
      if (pid > 0 && call_count_ == 1) calls_[0].orphans_us += CpuTimeOf(usage);
      if (pid > 0 && Exceeded(status, SIGXFSZ, RLIMIT_FSIZE) && call_count_ == 1)
        Enforce({LimitKind::kFileSize, 0});
      continue;
    }
    if (WIFSTOPPED(status)) {
      // A leader stops to tell of its program's stop, and goes on to wait for more.
      if (call->report != nullptr) {
        status = call->report->status;
        kill(pid, SIGCONT);
        if (!WIFSTOPPED(status)) continue;
      }
      Send(EventType::kStopped, call->id, WSTOPSIG(status), 0, nullptr);
      continue;
    }
    if (call->report != nullptr) {
      if (call->report->ended) status = call->report->status;
      ForgetLeader(call->report);
      call->report = nullptr;
    }
    uint32_t id = call->id;
    if (cgroup_.MemoryReached()) {
      bool victim = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      EnforceMemory(victim ? static_cast<uint32_t>(call - calls_)
                           : Heaviest(calls_, call_count_, cgroup_.memory_limit()));
    }
    // What it leaves running may be what reached a limit and made it fail.
    if (watched_ && (status != 0 || TmpIsFull(setup_.limits()))) Look();
    call = ByLeader(pid);
    if (Exceeded(status, SIGXFSZ, RLIMIT_FSIZE))
      Send(EventType::kLimit, id, 0, static_cast<uint32_t>(LimitKind::kFileSize), nullptr);
    if (Exceeded(status, SIGXCPU, RLIMIT_CPU) || UsedUp(usage))
      Send(EventType::kLimit, id, 0, static_cast<uint32_t>(LimitKind::kCpuTime), nullptr);
    if (OutgrewMemory(usage))
      Send(EventType::kLimit, id, 0, static_cast<uint32_t>(LimitKind::kMemory), nullptr);
    if (call != nullptr && call->kill_tree_on_exit) KillTree(*call);
    Send(EventType::kExited, id, status, 0, &usage);
    if (call != nullptr) Forget(call);
  }
}

// Ended by the kernel for a limit that the policy sets, not one that we were started with.
bool Server::Exceeded(int status, int signal, int resource) const {
  if (!WIFSIGNALED(status) || WTERMSIG(status) != signal) return false;
  for (int i = 0; i < setup_.rlimit_count(); i++)
    if (setup_.rlimits()[i].resource == resource) return true;
  return false;
}

// What a call met between two looks and was over before the next: its own account tells, which
// holds what it waited for as well (getrusage(2)).
bool Server::UsedUp(const struct rusage& usage) const {
  uint64_t limit = setup_.limits().cpu_us;
  auto us = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1000000u + static_cast<uint64_t>(time.tv_usec);
  };
  return limit != 0 && us(usage.ru_utime) + us(usage.ru_stime) >= limit;
}

// One of its processes alone was larger. With a cgroup: nearly so, and the kernel killed somebody
// before we had seen who grew.
bool Server::OutgrewMemory(const struct rusage& usage) {
  uint64_t peak = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  if (is_kill_unexplained_ && peak > cgroup_.memory_limit() / 2) {
    is_kill_unexplained_ = false;
    return true;
  }
  uint64_t limit = setup_.limits().memory_bytes;
  return limit != 0 && peak > limit;
}

void Server::Look() {
  timespec before;
  clock_gettime(CLOCK_MONOTONIC, &before);
  LimitReached reached;
  if (cgroup_.MemoryReached()) EnforceMemory(Heaviest(calls_, call_count_, cgroup_.memory_limit()));
  bool limit = Watch(setup_.limits(), calls_, call_count_, &reached);
  // A peak between two looks that the kernel cut off; with several calls nobody knows whose it was.
  if (cgroup_.ProcessesReached() && !limit && call_count_ == 1) {
    reached = {LimitKind::kProcesses, 0};
    limit = true;
  }
  timespec after;
  clock_gettime(CLOCK_MONOTONIC, &after);
  long cost_us = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
  int leisure = interval_ms_ < kWatchIntervalMs ? interval_ms_ * 2 : kWatchIntervalMs;
  int affordable = static_cast<int>(cost_us * 50 / 1000);
  interval_ms_ = affordable > leisure
                     ? (affordable < kSlowestWatchMs ? affordable : kSlowestWatchMs)
                     : leisure;
  due_ms_ = NowMs() + interval_ms_;
  if (limit) Enforce(reached);
}

void Server::Enforce(const LimitReached& reached) {
  uint32_t id = 0;
  if (reached.call != kNoCall) {
    id = calls_[reached.call].id;
    // Reported before the kill, so that the exit that follows is known to be the limit's doing.
    Send(EventType::kLimit, id, 0, static_cast<uint32_t>(reached.kind), nullptr);
    KillTree(calls_[reached.call]);
    // With one call what left its tree is its doing as well, and would go on without it.
    if (call_count_ == 1 && !AnyTool()) setup_.KillAll();
    return;
  }
  Send(EventType::kLimit, id, 0, static_cast<uint32_t>(reached.kind), nullptr);
  setup_.KillAll();  // nobody's: all that is not the init
}

// Whether something is to be watched: a call, or what calls have left running.
bool Server::AnyAlive() const {
  siginfo_t information;
  return call_count_ > 0 || waitid(P_ALL, 0, &information, WEXITED | WNOHANG | WNOWAIT) == 0;
}

int Server::UntilLook() const {
  if (!watched_ || !AnyAlive()) return -1;
  int64_t left = due_ms_ - NowMs();
  if (left < 0) left = 0;
  // Whose memory it was must be known before the kernel kills.
  if (call_count_ > 1 && cgroup_.HoldsMemory() && left > kGrowthMs) left = kGrowthMs;
  return static_cast<int>(left);
}

// The kernel has killed one process for it: what is left of the call goes too, by the limit's name.
void Server::EnforceMemory(uint32_t call) {
  is_kill_unexplained_ = call == kNoCall;
  if (is_kill_unexplained_) return;
  Enforce({LimitKind::kMemory, call});
  cgroup_.MemoryReached();  // of what the kernel killed of it meanwhile nobody else is to blame
}

void Server::Run() {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  // Every signal is blocked and none has a handler: a vfork child has nothing that could run in our
  // memory.
  int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return;
  const WatchedLimits& limits = setup_.limits();
  watched_ = limits.memory_bytes != 0 || limits.processes != 0 || limits.cpu_us != 0 ||
             limits.open_files != 0 || limits.tmp || cgroup_.Any();
  pollfd sources[2] = {
      {kControlFd, POLLIN, 0},
      {signals,    POLLIN, 0}
  };
  for (;;) {
    int ready = poll(sources, 2, UntilLook());
    if (ready < 0 && errno != EINTR) return;
    // By the clock, not only when all is quiet: orphans that end without a pause would keep us from
    // it.
    if (watched_ && AnyAlive() && (NowMs() >= due_ms_ || cgroup_.MemoryGrew())) Look();
    if (ready <= 0) continue;
    if (sources[1].revents != 0) {
      signalfd_siginfo information;
      // SIGCHLD does not queue: one record is all there is, and what ended meanwhile is reaped
      // below.
      static_cast<void>(read(signals, &information, sizeof information));
      Reap();
    }
    if (sources[0].revents != 0 && !Receive()) return;
  }
}

}  // namespace

void Serve(const Setup& setup, const CgroupEvents& cgroup) {
  // Static: the packet buffer and the tables are larger than a small stack.
  alignas(Server) static char place[sizeof(Server)];
  auto* server = new (place) Server(setup, cgroup);
  server->Run();
}

}  // namespace holdfast
