#include "notify.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "exits.h"
#include "kernel.h"
#include "listeners.h"
#include "sessions.h"

namespace holdfast {

namespace {

constexpr size_t kMaxSubjects = 256;   // a sandbox
constexpr size_t kMaxThreads = 16;     // a sandbox
constexpr size_t kManyWaiting = 4096;  // then those whose callers are gone are looked for
constexpr timeval kSlice{0, 10000};    // how long one connect may keep a thread from the others

constexpr int kSliceOver = -1;  // no errno: nothing is known yet

// A connect that nobody has answered yet.
struct Pending {
  seccomp_notif notification;
  std::chrono::steady_clock::time_point since;
};

class Sandbox : public std::enable_shared_from_this<Sandbox> {
 public:
  Sandbox(UniqueFd listener, UniqueFd sockets, UniqueFd carried, int init_pid,
          const std::vector<NotifyRule>& rules)
      : listener_(std::move(listener)),
        sockets_(std::move(sockets)),
        flows_(std::move(carried)),
        sessions_(init_pid) {
    for (const NotifyRule& rule : rules) {
      rules_[rule.number] = rule;
      if (rule.answer == Answer::kWait && exits_ == nullptr && PidfdTellsExit())
        exits_ = std::make_unique<ExitWatch>();
    }
    struct stat status;
    if (stat(("/proc/" + std::to_string(init_pid) + "/ns/pid").c_str(), &status) == 0)
      pid_namespace_ = status.st_ino;
  }

  void Serve();
  std::vector<DenialRecord> Take();
  void OnLimitReached(std::function<void()> changed);
  std::vector<LimitRecord> TakeLimits();
  Flows& flows() { return flows_; }
  void Close();

 private:
  void Handle(const seccomp_notif& notification);
  bool Connect(const Pending& pending, const NotifyRule& rule);
  int ConnectOut(const Pending& pending, int socket, const sockaddr_storage& address,
                 socklen_t size, int refusal);
  int ConnectUnix(const Pending& pending, int socket, const sockaddr_un& address, socklen_t size);
  void TraceOpen(const seccomp_notif& notification, const NotifyRule& rule);
  void NoteRefusal(const seccomp_notif& notification, const std::string& path, int flags);
  void MappedFile(const seccomp_notif& notification, const NotifyRule& rule);
  void Reply(uint64_t id, int error, int64_t value, bool go_on);
  void Record(int number, const std::string& subject);
  void Dispatch(const seccomp_notif& notification);
  void ForgetTheGone();
  void Work();
  bool Harvest();
  void CountDescriptors(const seccomp_notif& notification, const NotifyRule& rule);
  bool Reached(LimitKind kind, int32_t session);
  void TellOfLimits();
  bool StillValid(uint64_t id) {
    return ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
  }

  UniqueFd listener_;
  ListenerTable sockets_;
  Flows flows_;
  uint64_t pid_namespace_ = 0;
  std::map<int, NotifyRule> rules_;
  std::mutex mutex_;
  std::map<std::pair<int, std::string>, uint64_t> denials_;
  Sessions sessions_;
  std::unique_ptr<ExitWatch> exits_;
  std::vector<LimitRecord> limits_;
  std::function<void()> limits_changed_;
  std::deque<Pending> waiting_;  // not tried yet: those first
  std::deque<Pending> stuck_;    // tried for a while
  size_t many_ = kManyWaiting;
  std::condition_variable wake_;
  size_t threads_ = 0;
  size_t idle_ = 0;
  bool closed_ = false;
};

std::string ProcPath(uint32_t pid, const char* rest) {
  return "/proc/" + std::to_string(pid) + rest;
}

// One read: what is judged and what is used are the same bytes, whatever other threads of the
// caller write there.
ssize_t ReadMemory(uint32_t pid, uint64_t address, void* buffer, size_t size) {
  iovec local{buffer, size};
  iovec remote{reinterpret_cast<void*>(address), size};
  return process_vm_readv(static_cast<pid_t>(pid), &local, 1, &remote, 1, 0);
}

std::string ReadText(uint32_t pid, uint64_t address) {
  char buffer[4096];
  size_t have = 0;
  // By page: the text may end just before an unmapped one.
  while (have < sizeof buffer) {
    size_t part = 4096 - ((address + have) & 4095);
    if (part > sizeof buffer - have) part = sizeof buffer - have;
    ssize_t got = ReadMemory(pid, address + have, buffer + have, part);
    if (got <= 0) return {};
    const void* nul = memchr(buffer + have, 0, static_cast<size_t>(got));
    if (nul != nullptr) return buffer;
    have += static_cast<size_t>(got);
  }
  return {};
}

// A duplicate of the caller's descriptor. The notification names a thread: PIDFD_THREAD
// (Linux 6.9), else its process.
UniqueFd Duplicate(uint32_t tid, int fd) {
  UniqueFd pidfd(PidfdOpen(static_cast<int>(tid), O_EXCL));
  if (!pidfd.Valid()) pidfd.Reset(PidfdOpen(static_cast<int>(tid), 0));
  if (!pidfd.Valid()) return UniqueFd();
  return UniqueFd(static_cast<int>(syscall(kSysPidfdGetfd, pidfd.Get(), fd, 0)));
}

// Opens a path as the caller would see it, without following anything out of its root.
UniqueFd OpenInside(uint32_t pid, const std::string& path, uint64_t flags) {
  UniqueFd root(open(ProcPath(pid, "/root").c_str(), O_PATH | O_CLOEXEC));
  if (!root.Valid()) return UniqueFd();
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(
      static_cast<int>(syscall(SYS_openat2, root.Get(), path.c_str(), &how, sizeof how)));
}

std::string Absolute(uint32_t pid, const char* folder, const std::string& path) {
  if (!path.empty() && path[0] == '/') return path;
  char base[4096];
  ssize_t size = readlink(ProcPath(pid, folder).c_str(), base, sizeof base - 1);
  if (size <= 0) return path;
  base[size] = 0;
  return std::string(base) + "/" + path;
}

bool IsLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    uint32_t ip = ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr);
    return (ip >> 24) == 127 || (ip >> 24) == 0;  // 0.0.0.0 reaches 127.0.0.1 (kernel-notes E8)
  }
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&ip)) return ip.s6_addr[12] == 127 || ip.s6_addr[12] == 0;
  return IN6_IS_ADDR_LOOPBACK(&ip) || IN6_IS_ADDR_UNSPECIFIED(&ip);
}

// Of the addresses that stand for names (lib/egress/names.ts): 198.18.0.0/15,
// fd68:6f6c:6466::/48.
bool IsOfPool(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    uint32_t ip = ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr);
    return ip >> 17 == (198u << 24 | 18u << 16) >> 17;
  }
  constexpr uint8_t kPrefix[] = {0xfd, 0x68, 0x6f, 0x6c, 0x64, 0x66};
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return memcmp(ip.s6_addr, kPrefix, sizeof kPrefix) == 0;
}

uint16_t PortOf(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in&>(address).sin_port
                   : reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

std::string Name(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(in.sin_port));
  }
  const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
  inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
  return "[" + std::string(text) + "]:" + std::to_string(ntohs(in6.sin6_port));
}

void Sandbox::Reply(uint64_t id, int error, int64_t value, bool go_on) {
  seccomp_notif_resp response{};
  response.id = id;
  response.error = -error;
  response.val = value;
  response.flags = go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
  // ENOENT: the caller died or was interrupted; nobody waits for the answer.
  ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void Sandbox::Record(int number, const std::string& subject) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = denials_.find({number, subject});
  if (found != denials_.end()) {
    found->second++;
  } else if (denials_.size() < kMaxSubjects) {
    denials_[{number, subject}] = 1;
  } else {
    denials_[{number, "(others)"}]++;
  }
}

std::vector<DenialRecord> Sandbox::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<DenialRecord> taken;
  for (const auto& [key, count] : denials_) taken.push_back({key.first, key.second, count});
  denials_.clear();
  return taken;
}

// A thread a sandbox: a notification can vanish between poll and receive (its caller died), and the
// receive then waits for the next one. That must hold up nobody else's.
void Sandbox::Serve() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  pthread_setname_np(pthread_self(), "holdfast-broker");
  for (;;) {
    pollfd sources[2] = {
        {listener_.Get(),                       POLLIN, 0},
        {exits_ == nullptr ? -1 : exits_->Fd(), POLLIN, 0}
    };
    if (poll(sources, 2, -1) < 0 && errno != EINTR) return;
    if (sources[1].revents != 0 && Harvest()) TellOfLimits();
    if ((sources[0].revents & POLLIN) == 0) {
      if (sources[0].revents & (POLLHUP | POLLERR))
        return;  // the last process behind the filter is gone
      continue;
    }
    seccomp_notif notification;
    memset(&notification, 0, sizeof notification);  // the kernel insists on zeroes
    if (ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_RECV, &notification) == 0) {
      Handle(notification);
    } else if (errno != EINTR && errno != ENOENT) {
      return;
    }
  }
}

void Sandbox::Handle(const seccomp_notif& notification) {
  auto found = rules_.find(notification.data.nr);
  if (found == rules_.end()) {
    Record(notification.data.nr, "");
    Reply(notification.id, EPERM, 0, false);
    return;
  }
  switch (found->second.answer) {
    case Answer::kRefuse:
      Record(notification.data.nr, "");
      Reply(notification.id, found->second.error, 0, false);
      break;
    case Answer::kConnect:
      Dispatch(notification);
      break;
    case Answer::kTraceOpen:
      TraceOpen(notification, found->second);
      break;
    case Answer::kMappedFile:
      MappedFile(notification, found->second);
      break;
    case Answer::kWait:
      if (exits_ != nullptr) {
        auto tid = static_cast<int32_t>(notification.pid);
        if (exits_->HoldChildren(tid, sessions_.Of(tid)) && Harvest()) TellOfLimits();
      }
      Reply(notification.id, 0, 0, true);
      break;
    case Answer::kDescriptor:
      CountDescriptors(notification, found->second);
      Reply(notification.id, 0, 0, true);
      break;
  }
}

// Waiting for a connect is not the end of it: its caller may be killed, and the next one makes
// another.
void Sandbox::ForgetTheGone() {
  for (std::deque<Pending>* queue : {&waiting_, &stuck_})
    queue->erase(std::remove_if(queue->begin(), queue->end(),
                                [this](const Pending& pending) {
                                  return !StillValid(pending.notification.id);
                                }),
                 queue->end());
  many_ = std::max(kManyWaiting, 2 * (waiting_.size() + stuck_.size()));
}

void Sandbox::Dispatch(const seccomp_notif& notification) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (waiting_.size() + stuck_.size() >= many_) ForgetTheGone();
  waiting_.push_back({notification, std::chrono::steady_clock::now()});
  if (idle_ == 0 && threads_ < kMaxThreads) {
    threads_++;
    std::thread([self = shared_from_this()] { self->Work(); }).detach();
  }
  wake_.notify_one();
}

void Sandbox::Work() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    idle_++;
    bool woken = wake_.wait_for(lock, std::chrono::seconds(5),
                                [this] { return !waiting_.empty() || !stuck_.empty() || closed_; });
    idle_--;
    if (closed_ || !woken) break;
    std::deque<Pending>& queue = waiting_.empty() ? stuck_ : waiting_;
    Pending pending = queue.front();
    queue.pop_front();
    lock.unlock();
    bool answered = Connect(pending, rules_.at(pending.notification.data.nr));
    lock.lock();
    if (!answered) stuck_.push_back(pending);
  }
  threads_--;
}

// A blocking connect may wait for as long as its peer likes (a full backlog): it is made in slices,
// so that a few threads serve however many there are, and none outlives the sandbox. The time-out
// is set on the caller's own socket, which no other number or process of the caller's can have
// meanwhile, and set back. EAGAIN, EINPROGRESS and EALREADY say that the slice is over.
int ConnectSlice(int socket, const sockaddr* address, socklen_t size,
                 std::chrono::steady_clock::time_point since) {
  int flags = fcntl(socket, F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) {
    return connect(socket, address, size) == 0 ? 0 : errno;
  }
  timeval own{};
  socklen_t own_size = sizeof own;
  getsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &own, &own_size);
  // Another connect on the same socket is in a slice of its own.
  if (own.tv_sec == kSlice.tv_sec && own.tv_usec == kSlice.tv_usec) own = {};
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kSlice, sizeof kSlice);
  int error = connect(socket, address, size) == 0 ? 0 : errno;
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &own, sizeof own);
  if (error == EALREADY) error = EINPROGRESS;
  if (error != EAGAIN && error != EINPROGRESS) return error;
  auto most = std::chrono::seconds(own.tv_sec) + std::chrono::microseconds(own.tv_usec);
  bool over = most.count() > 0 && std::chrono::steady_clock::now() - since >= most;
  return over ? error : kSliceOver;
}

// Never "go on": between our look and the kernel's own another thread can put other bytes at the
// address or another socket at the number. So a permitted connect is made here, on a duplicate of
// the caller's socket. False: it has to wait longer, and everything is looked at anew.
bool Sandbox::Connect(const Pending& pending, const NotifyRule& rule) {
  const seccomp_notif& notification = pending.notification;
  auto answer = [&](int error) {
    Reply(notification.id, error, 0, false);
    return true;
  };
  sockaddr_storage address{};
  auto size = static_cast<socklen_t>(notification.data.args[2]);
  if (static_cast<int>(size) < 0 || size > sizeof address) return answer(EINVAL);
  if (size > 0 && ReadMemory(notification.pid, notification.data.args[1], &address, size) !=
                      static_cast<ssize_t>(size))
    return answer(EFAULT);
  UniqueFd socket = Duplicate(notification.pid, static_cast<int>(notification.data.args[0]));
  if (!socket.Valid()) return answer(errno == EBADF ? EBADF : EACCES);
  int domain = 0;
  socklen_t domain_size = sizeof domain;
  if (getsockopt(socket.Get(), SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) != 0)
    return answer(errno);
  if (!StillValid(notification.id)) return true;
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  bool inet = domain == AF_INET || domain == AF_INET6;
  int error = EAFNOSUPPORT;
  if (domain == AF_UNIX) {
    error = ConnectUnix(pending, socket.Get(), reinterpret_cast<const sockaddr_un&>(address), size);
  } else if (domain == AF_NETLINK || (inet && address.ss_family == AF_UNSPEC)) {  // that dissolves
    error = connect(socket.Get(), generic, size) == 0 ? 0 : errno;
  } else if (inet && (address.ss_family == AF_INET || address.ss_family == AF_INET6)) {
    if (IsLoopback(address)) {
      error = flows_.Valid() && PortOf(address) == flows_.port()
                  ? ECONNREFUSED
                  : ConnectSlice(socket.Get(), generic, size, pending.since);
    } else {
      error = ConnectOut(pending, socket.Get(), address, size, rule.error);
    }
  }
  return error != kSliceOver && answer(error);
}

// To an address outside: carried on where there is egress and it is TCP, else refused and recorded.
int Sandbox::ConnectOut(const Pending& pending, int socket, const sockaddr_storage& address,
                        socklen_t size, int refusal) {
  const seccomp_notif& notification = pending.notification;
  auto refuse = [&] {
    Record(notification.data.nr, Name(address));
    return refusal;
  };
  int type = 0;
  int protocol = 0;
  socklen_t option_size = sizeof type;
  // So a C library asks which of several addresses is nearest; nobody listens there, and what is
  // sent is refused.
  if (flows_.Valid() && IsOfPool(address) &&
      getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &option_size) == 0 && type == SOCK_DGRAM)
    return connect(socket, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
  if (!flows_.Valid() || getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &option_size) != 0 ||
      getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &option_size) != 0 ||
      type != SOCK_STREAM || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP))
    return refuse();
  auto connect_it = [&](const sockaddr* target, socklen_t target_size) {
    return ConnectSlice(socket, target, target_size, pending.since);
  };
  // Asked a second time, of one that did not wait for the first: the kernel has the answer.
  sockaddr_storage peer{};
  socklen_t peer_size = sizeof peer;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0)
    return connect_it(reinterpret_cast<sockaddr*>(&peer), peer_size);
  Program program = ReadProgram(notification.pid);
  // What was read was the caller's only if it still stands there.
  if (!StillValid(notification.id)) return EINTR;
  return flows_.Carry(socket, address, size, notification.pid, std::move(program), connect_it);
}

int Sandbox::ConnectUnix(const Pending& pending, int socket, const sockaddr_un& address,
                         socklen_t size) {
  const seccomp_notif& notification = pending.notification;
  // Abstract names belong to the sandbox's own network namespace.
  if (size <= sizeof(sa_family_t) || address.sun_family != AF_UNIX || address.sun_path[0] == 0)
    return ConnectSlice(socket, reinterpret_cast<const sockaddr*>(&address), size, pending.since);
  size_t room = size - offsetof(sockaddr_un, sun_path);
  std::string path(
      address.sun_path,
      strnlen(address.sun_path, room < sizeof address.sun_path ? room : sizeof address.sun_path));
  UniqueFd file = OpenInside(notification.pid, Absolute(notification.pid, "/cwd", path), O_PATH);
  if (!file.Valid()) return errno;
  auto refuse = [&] {
    Record(notification.data.nr, "unix:" + path);
    return EACCES;
  };
  // A service of the host whose socket lies in a granted folder is not the sandbox's to reach
  // (kernel-notes B6), nor to wake.
  if (sockets_.IsForeign(file.Get())) return refuse();
  sockaddr_un target{};
  target.sun_family = AF_UNIX;
  std::string link = "/proc/self/fd/" + std::to_string(file.Get());
  memcpy(target.sun_path, link.c_str(), link.size() + 1);
  int error =
      ConnectSlice(socket, reinterpret_cast<sockaddr*>(&target), sizeof target, pending.since);
  if (error != 0) return error;
  // Where the kernel does not tell beforehand, the one who answered does.
  ucred peer{};
  socklen_t peer_size = sizeof peer;
  struct stat status {};
  bool own = getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) == 0 && peer.pid > 0 &&
             stat(ProcPath(static_cast<uint32_t>(peer.pid), "/ns/pid").c_str(), &status) == 0 &&
             status.st_ino == pid_namespace_;
  if (own) return 0;
  shutdown(socket, SHUT_RDWR);
  return refuse();
}

// Where a path leads on the host, links followed; empty when nothing is there.
std::string RealPath(const std::string& path) {
  char real[PATH_MAX];
  return realpath(path.c_str(), real) == nullptr ? std::string() : std::string(real);
}

bool IsReadOnly(int fd) {
  struct statvfs view;
  return fstatvfs(fd, &view) == 0 && (view.f_flag & ST_RDONLY) != 0;
}

int OpenFlags(const seccomp_notif& notification, const NotifyRule& rule) {
#ifdef SYS_creat
  if (notification.data.nr == SYS_creat) return O_CREAT | O_WRONLY | O_TRUNC;
#endif
  return static_cast<int>(notification.data.args[rule.path_argument + 1]);
}

// Only looks: whatever it finds, the kernel decides on what is at the address when it reads it.
void Sandbox::TraceOpen(const seccomp_notif& notification, const NotifyRule& rule) {
  std::string path = ReadText(notification.pid, notification.data.args[rule.path_argument]);
  if (!path.empty()) {
    std::string folder = "/cwd";
    if (path[0] != '/' && rule.path_argument > 0 &&
        static_cast<int>(notification.data.args[0]) != AT_FDCWD)
      folder = "/fd/" + std::to_string(static_cast<int>(notification.data.args[0]));
    NoteRefusal(notification, Absolute(notification.pid, folder.c_str(), path),
                OpenFlags(notification, rule));
  }
  CountDescriptors(notification, rule);
  Reply(notification.id, 0, 0, true);
}

// Recorded by its real name: a link inside may name what is not granted. What would be made is
// named by the folder that it would be made in.
void Sandbox::NoteRefusal(const seccomp_notif& notification, const std::string& path, int flags) {
  bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
  int number = notification.data.nr;
  UniqueFd inside = OpenInside(notification.pid, path, O_PATH);
  if (inside.Valid()) {
    if (writes && IsReadOnly(inside.Get())) Record(number, "write " + path);
    return;
  }
  if (errno != ENOENT) return;
  std::string real = RealPath(path);
  size_t slash = path.find_last_of('/');
  if ((flags & O_CREAT) != 0 && slash != std::string::npos) {
    std::string parent = slash == 0 ? "/" : path.substr(0, slash);
    UniqueFd folder = OpenInside(notification.pid, parent, O_PATH | O_DIRECTORY);
    if (folder.Valid() && !IsReadOnly(folder.Get())) return;  // it is made
    if (real.empty()) real = folder.Valid() ? parent : RealPath(parent);
  }
  if (!real.empty()) Record(number, (writes ? "write " : "read ") + real);
}

void Sandbox::MappedFile(const seccomp_notif& notification, const NotifyRule& rule) {
  UniqueFd file = Duplicate(notification.pid, static_cast<int>(notification.data.args[4]));
  if (!file.Valid()) return Reply(notification.id, EBADF, 0, false);
  struct statvfs view;
  struct stat status;
  bool fine = fstatvfs(file.Get(), &view) == 0 && fstat(file.Get(), &status) == 0 &&
              ((view.f_flag & ST_RDONLY) || (status.st_mode & 0111));
  if (!fine) Record(notification.data.nr, "");
  Reply(notification.id, fine ? 0 : rule.error, 0, fine);
}

// How many descriptors a process has from a number on. All of them: the size of its folder (Linux
// 6.2); else its entries are counted.
int Descriptors(uint32_t tid, int from) {
  std::string path = ProcPath(tid, "/fd");
  struct stat status;
  if (from == 0 && stat(path.c_str(), &status) == 0 && status.st_size > 0)
    return static_cast<int>(status.st_size);
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return 0;
  int count = 0;
  while (dirent* entry = readdir(directory))
    count += entry->d_name[0] != '.' && atoi(entry->d_name) >= from;
  closedir(directory);
  return count;
}

bool MakesTwo(int number) {
#ifdef SYS_pipe
  if (number == SYS_pipe) return true;
#endif
  return number == SYS_pipe2;
}

// The call goes on, and is answered EMFILE where this finds that it will be.
void Sandbox::CountDescriptors(const seccomp_notif& notification, const NotifyRule& rule) {
  if (rule.descriptors == 0) return;
  int from = 0;
  // F_DUPFD takes the lowest free number from its argument on.
  if (notification.data.nr == SYS_fcntl) from = static_cast<int>(notification.data.args[2]);
  if (from < 0 || from >= rule.descriptors) return;
  int needed = MakesTwo(notification.data.nr) ? 2 : 1;
  if (Descriptors(notification.pid, from) + needed <= rule.descriptors - from) return;
  if (Reached(LimitKind::kOpenFiles, sessions_.Of(static_cast<int32_t>(notification.pid))))
    TellOfLimits();
}

bool Sandbox::Reached(LimitKind kind, int32_t session) {
  LimitRecord record{kind, sessions_.Chain(session)};
  std::lock_guard<std::mutex> lock(mutex_);
  for (const LimitRecord& known : limits_)
    if (known.kind == kind && known.sessions == record.sessions) return false;
  if (limits_.size() >= kMaxSubjects) return false;
  limits_.push_back(std::move(record));
  return true;
}

bool Sandbox::Harvest() {
  if (exits_ == nullptr) return false;
  bool any = false;
  for (int32_t session : exits_->Harvest()) any = Reached(LimitKind::kFileSize, session) || any;
  return any;
}

void Sandbox::TellOfLimits() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (limits_changed_) limits_changed_();
}

void Sandbox::OnLimitReached(std::function<void()> changed) {
  std::lock_guard<std::mutex> lock(mutex_);
  limits_changed_ = std::move(changed);
}

std::vector<LimitRecord> Sandbox::TakeLimits() {
  Harvest();
  std::vector<LimitRecord> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  taken.swap(limits_);
  return taken;
}

void Sandbox::Close() {
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  limits_changed_ = nullptr;
  flows_.OnFlow(nullptr);
  wake_.notify_all();
}

class Broker {
 public:
  uint32_t Add(const std::shared_ptr<Sandbox>& sandbox) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      sandboxes_[next_] = sandbox;
    }
    std::thread([sandbox] { sandbox->Serve(); }).detach();
    return next_++;
  }

  std::shared_ptr<Sandbox> Find(uint32_t handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = sandboxes_.find(handle);
    return found == sandboxes_.end() ? nullptr : found->second;
  }

  void Remove(uint32_t handle) {
    std::shared_ptr<Sandbox> sandbox = Find(handle);
    if (sandbox == nullptr) return;
    sandbox->Close();
    std::lock_guard<std::mutex> lock(mutex_);
    sandboxes_.erase(handle);
  }

 private:
  std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Sandbox>> sandboxes_;
  uint32_t next_ = 1;
};

// Never destroyed: its threads outlive every static of the process.
Broker& TheBroker() {
  static auto* broker = new Broker;
  return *broker;
}

}  // namespace

uint32_t WatchListener(UniqueFd listener, UniqueFd sockets, UniqueFd carried, int init_pid,
                       const std::vector<NotifyRule>& rules) {
  return TheBroker().Add(std::make_shared<Sandbox>(std::move(listener), std::move(sockets),
                                                   std::move(carried), init_pid, rules));
}

void OnFlow(uint32_t handle, std::function<void()> changed) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  if (sandbox != nullptr) sandbox->flows().OnFlow(std::move(changed));
}

std::vector<Flow> TakeFlows(uint32_t handle) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? std::vector<Flow>{} : sandbox->flows().Take();
}

std::vector<DenialRecord> TakeDenials(uint32_t handle) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? std::vector<DenialRecord>{} : sandbox->Take();
}

void OnLimitReached(uint32_t handle, std::function<void()> changed) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  if (sandbox != nullptr) sandbox->OnLimitReached(std::move(changed));
}

std::vector<LimitRecord> TakeLimits(uint32_t handle) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? std::vector<LimitRecord>{} : sandbox->TakeLimits();
}

void UnwatchListener(uint32_t handle) { TheBroker().Remove(handle); }

}  // namespace holdfast
