#include "connects.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "address.h"
#include "caller.h"
#include "own_loopback.h"
#include "threads.h"

namespace holdfast {

namespace {

constexpr size_t kMaxThreads = 16;     // a sandbox
constexpr size_t kManyWaiting = 4096;  // then those whose callers are gone are looked for
constexpr timeval kSlice{0, 10000};    // how long one connect may keep a thread from the others

constexpr uint16_t kDnsPort = 53;
constexpr int kSliceOver = -1;  // no errno: nothing is known yet

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

}  // namespace

Connects::Connects(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<ForeignCode> foreign,
                   UniqueFd sockets, UniqueFd carried, int init_pid,
                   std::shared_ptr<Servers> servers, std::shared_ptr<MadeSockets> made,
                   std::shared_ptr<const OwnFiles> own)
    : calls_(std::move(calls)),
      foreign_(std::move(foreign)),
      servers_(std::move(servers)),
      made_(std::move(made)),
      own_(std::move(own)),
      sockets_(std::move(sockets)),
      flows_(std::move(carried)),
      init_pid_(init_pid),
      many_(kManyWaiting) {
  struct stat status;
  if (stat(ProcPath(static_cast<uint32_t>(init_pid), "/ns/pid").c_str(), &status) == 0)
    pid_namespace_ = status.st_ino;
}

// Waiting for a connect is not the end of it: its caller may be killed, and the next one makes
// another.
void Connects::ForgetTheGone() {
  for (std::deque<Pending>* queue : {&waiting_, &stuck_})
    queue->erase(std::remove_if(queue->begin(), queue->end(),
                                [this](const Pending& pending) {
                                  return !calls_->StillValid(pending.notification.id);
                                }),
                 queue->end());
  many_ = std::max(kManyWaiting, 2 * (waiting_.size() + stuck_.size()));
}

void Connects::Dispatch(const seccomp_notif& notification, int refusal) {
  const Pending pending{notification, refusal, std::chrono::steady_clock::now()};
  if (IsQuiet() && Connect(pending, /*may_wait=*/false)) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (waiting_.size() + stuck_.size() >= many_) ForgetTheGone();
  waiting_.push_back(pending);
  if (idle_ == 0 && threads_ < kMaxThreads) {
    if (StartThread([self = shared_from_this()] { self->Work(); })) {
      threads_++;
    } else if (threads_ == 0) {
      waiting_.pop_back();
      return calls_->Reply(notification.id, EAGAIN);
    }
  }
  wake_.notify_one();
}

// Whether none waits and no thread has one to make: then who hears of the next makes it, which is
// sooner done than to wake another for it.
bool Connects::IsQuiet() {
  std::lock_guard<std::mutex> lock(mutex_);
  return waiting_.empty() && stuck_.empty() && idle_ == threads_;
}

void Connects::Work() {
  BlockSignals();
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
    bool answered = Connect(pending, /*may_wait=*/true);
    lock.lock();
    if (!answered) stuck_.push_back(pending);
  }
  threads_--;
}

// Never "go on": between our look and the kernel's own another thread can put other bytes at the
// address or another socket at the number. So a permitted connect is made here, on a duplicate of
// the caller's socket. False: it has to wait longer, and everything is looked at anew; or it may
// have to, for a peer that is not ours, and `may_wait` is false.
bool Connects::Connect(const Pending& pending, bool may_wait) {
  const seccomp_notif& notification = pending.notification;
  auto answer = [&](int error) {
    calls_->Reply(notification.id, error);
    return true;
  };
  sockaddr_storage address{};
  socklen_t size = 0;
  int fault = ReadAddress(notification, &address, &size);
  if (fault != 0) return answer(fault);
  const bool leads_out =
      (address.ss_family == AF_INET || address.ss_family == AF_INET6) && !IsLoopback(address);
  if (!may_wait && !leads_out) return false;
  int number = static_cast<int>(notification.data.args[0]);
  UniqueFd socket = made_ == nullptr ? Duplicate(notification.pid, number)
                                     : made_->Find(notification.pid, number);
  if (!socket.Valid()) return answer(errno == EBADF || made_ != nullptr ? errno : EACCES);
  int domain = DomainOf(socket.Get());
  if (domain < 0) return answer(errno);
  if (!calls_->StillValid(notification.id)) return true;
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  bool inet = domain == AF_INET || domain == AF_INET6;
  int error = EAFNOSUPPORT;
  if (domain == AF_UNIX) {
    error = ConnectUnix(pending, socket.Get(), reinterpret_cast<const sockaddr_un&>(address), size);
  } else if (domain == AF_NETLINK) {
    // The kernel alone: other processes and their groups are for a right to name, which we may have
    // and the caller has not.
    const auto& peer = reinterpret_cast<const sockaddr_nl&>(address);
    bool is_kernel = peer.nl_pid == 0 && peer.nl_groups == 0;
    error = !is_kernel ? EPERM : connect(socket.Get(), generic, size) == 0 ? 0 : errno;
  } else if (inet && address.ss_family == AF_UNSPEC) {  // that dissolves
    error = connect(socket.Get(), generic, size) == 0 ? 0 : errno;
  } else if (inet && (address.ss_family == AF_INET || address.ss_family == AF_INET6)) {
    error = leads_out ? ConnectOut(pending, socket.Get(), address, size)
                      : ConnectLoopback(pending, socket.Get(), domain, address, size);
  }
  if (made_ != nullptr && (error == 0 || error == EINPROGRESS)) made_->Forget(socket.Get());
  if (error == kSliceOver) return false;
  answer(error);
  if (flows_.Valid()) flows_.Tell();
  return true;
}

// Its own, or where that is the host's as well, to its own servers. A name server is looked for
// there too, which is the broker's (RES_OPTIONS=use-vc, resolver(5)).
int Connects::ConnectLoopback(const Pending& pending, int socket, int domain,
                              const sockaddr_storage& address, socklen_t size) {
  auto connect_it = [&](const sockaddr_storage& target, socklen_t target_size) {
    return ConnectSlice(socket, reinterpret_cast<const sockaddr*>(&target), target_size,
                        pending.since);
  };
  if (servers_ == nullptr)
    return flows_.Valid() && PortOf(address) == flows_.port() ? ECONNREFUSED
                                                              : connect_it(address, size);
  if (flows_.Valid() && PortOf(address) == kDnsPort)
    return ConnectOut(pending, socket, address, size);
  uint32_t server = servers_->ServerAt(address);
  if (server == 0) {
    calls_->Record(pending.notification.data.nr, Name(address));
    return ECONNREFUSED;
  }
  int error = servers_->loopback().BindClient(socket, domain);
  if (error != 0) return error;
  socklen_t target_size = 0;
  sockaddr_storage target = OwnLoopback::Address(domain, server, PortOf(address), &target_size);
  return connect_it(target, target_size);
}

// To an address outside: carried on where there is egress and it is TCP, else refused and recorded.
int Connects::ConnectOut(const Pending& pending, int socket, const sockaddr_storage& address,
                         socklen_t size) {
  const seccomp_notif& notification = pending.notification;
  int type = 0;
  int protocol = 0;
  socklen_t option_size = sizeof type;
  getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &option_size);
  auto refuse = [&] {
    calls_->Record(notification.data.nr, (type == SOCK_DGRAM ? "udp:" : "") + Name(address));
    return pending.refusal;
  };
  // So a C library asks which of several addresses is nearest; nobody listens there, and what is
  // sent is refused.
  if (flows_.Valid() && IsOfPool(address) && type == SOCK_DGRAM)
    return connect(socket, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
  if (!flows_.Valid() ||
      getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &option_size) != 0 ||
      type != SOCK_STREAM || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP))
    return refuse();
  auto connect_it = [&](const sockaddr* target, socklen_t target_size) {
    return ConnectSlice(socket, target, target_size, pending.since);
  };
  // One that waits for a server inside would wait for that here, and all others that lead out with
  // it.
  if (IsConnecting(socket)) return EALREADY;
  // Asked a second time, of one that did not wait for the first: the kernel has the answer.
  sockaddr_storage peer{};
  socklen_t peer_size = sizeof peer;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0)
    return connect_it(reinterpret_cast<sockaddr*>(&peer), peer_size);
  Program program = ReadProgram(notification.pid, *own_);
  const uint64_t image = ImageOf(notification.pid);
  program.foreign_code = foreign_ != nullptr &&
                         (foreign_->Has(image) ||
                          foreign_->HasLoader(notification.pid, image, program.file.Get(), *own_));
  program.ancestry = ancestries_.Of(notification.pid, image, init_pid_);
  // What was read was the caller's only if it still stands there.
  if (!calls_->StillValid(notification.id)) return EINTR;
  return flows_.Carry(socket, address, size, notification.pid, std::move(program), connect_it);
}

int Connects::ConnectUnix(const Pending& pending, int socket, const sockaddr_un& address,
                          socklen_t size) {
  const seccomp_notif& notification = pending.notification;
  // Abstract names belong to the sandbox's own network namespace, where it has one.
  if (servers_ != nullptr && size > sizeof(sa_family_t) && address.sun_path[0] == 0) {
    calls_->Record(notification.data.nr, "unix:(abstract)");
    return EACCES;
  }
  if (size <= sizeof(sa_family_t) || address.sun_family != AF_UNIX || address.sun_path[0] == 0)
    return ConnectSlice(socket, reinterpret_cast<const sockaddr*>(&address), size, pending.since);
  size_t room = size - offsetof(sockaddr_un, sun_path);
  std::string path(
      address.sun_path,
      strnlen(address.sun_path, room < sizeof address.sun_path ? room : sizeof address.sun_path));
  UniqueFd file = OpenInside(notification.pid, Absolute(notification.pid, "/cwd", path), O_PATH,
                             own_->uid, own_->gid);
  if (!file.Valid()) return errno;
  auto refuse = [&] {
    calls_->Record(notification.data.nr, "unix:" + path);
    return EACCES;
  };
  // A service of the host whose socket lies in a granted folder is not the sandbox's to reach
  // (kernel-notes B6), nor to wake.
  if (sockets_.IsForeign(file.Get())) return refuse();
  if (servers_ != nullptr && !servers_->OwnUnix(file.Get())) return refuse();
  sockaddr_un target{};
  target.sun_family = AF_UNIX;
  std::string link = "/proc/self/fd/" + std::to_string(file.Get());
  memcpy(target.sun_path, link.c_str(), link.size() + 1);
  int error =
      ConnectSlice(socket, reinterpret_cast<sockaddr*>(&target), sizeof target, pending.since);
  if (error != 0 || servers_ != nullptr) return error;
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

void Connects::Close() {
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  flows_.OnFlow(nullptr);
  wake_.notify_all();
}

}  // namespace holdfast
