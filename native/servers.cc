#include "servers.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "address.h"
#include "caller.h"
#include "listeners.h"
#include "sock_diag.h"

namespace holdfast {

namespace {

constexpr size_t kMostListening = 4096;

// A connect gives a socket such a name where it asks for credentials (SO_PASSCRED, unix(7)).
bool IsAbstract(int socket) {
  sockaddr_un name{};
  socklen_t size = sizeof name;
  return getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
         (size > sizeof(sa_family_t) && name.sun_path[0] == 0);
}

}  // namespace

bool Servers::IsOwn(uint64_t inode) {
  std::lock_guard<std::mutex> lock(mutex_);
  return inode != 0 && listening_.count(inode) != 0;
}

UniqueFd Servers::SocketOf(const seccomp_notif& notification) {
  int number = static_cast<int>(notification.data.args[0]);
  if (made_ != nullptr) return made_->Find(notification.pid, number);
  UniqueFd socket = Duplicate(notification.pid, number);
  if (!socket.Valid() && errno != EBADF) errno = EACCES;
  return socket;
}

// Never "go on": between our look and the kernel's own another thread can put other bytes at the
// address, an abstract name for instance.
int Servers::Bind(const seccomp_notif& notification, int refusal) {
  UniqueFd socket = SocketOf(notification);
  if (!socket.Valid()) return errno;
  int domain = DomainOf(socket.Get());
  sockaddr_storage address{};
  socklen_t size = 0;
  int error = ReadAddress(notification, &address, &size);
  if (error != 0) return error;
  if (!calls_->StillValid(notification.id)) return EINTR;
  if (domain == AF_NETLINK)
    return bind(socket.Get(), reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
  if (domain == AF_UNIX) {
    // Abstract names are everybody's on the host: one could be taken before its service. Without
    // any name the kernel chooses one of those.
    const auto& name = reinterpret_cast<const sockaddr_un&>(address);
    if (size <= sizeof(sa_family_t) || name.sun_path[0] == 0) {
      calls_->Record(notification.data.nr, "an abstract name");
      return refusal;
    }
    return names_.Bind(notification.pid, socket.Get(), address, size);
  }
  if (domain != AF_INET && domain != AF_INET6) return refusal;
  if (address.ss_family != domain || size < (domain == AF_INET ? sizeof(sockaddr_in) : 24))
    return EINVAL;
  // Every address of its own (0.0.0.0, ::) is the loopback here.
  if (!IsLoopback(address)) {
    calls_->Record(notification.data.nr, "port " + std::to_string(PortOf(address)));
    return refusal;
  }
  // Root's right to the low ports is not the sandbox's.
  if (PortOf(address) != 0 && PortOf(address) < 1024) return EACCES;
  return loopback_.Bind(socket.Get(), domain, loopback_.InsteadOf(address), PortOf(address));
}

// Never "go on": a TCP socket that is not bound would be, to every address of the host.
int Servers::Listen(const seccomp_notif& notification, int refusal) {
  UniqueFd socket = SocketOf(notification);
  if (!socket.Valid()) {
    // One that listens already is no longer kept (made_sockets.h): only its queue would change.
    int error = errno;
    UniqueFd named;
    if (error == EISCONN)
      named = OpenDescriptor(notification.pid, static_cast<int>(notification.data.args[0]));
    return named.Valid() && IsOwn(InodeOf(named.Get())) ? 0 : error;
  }
  if (!calls_->StillValid(notification.id)) return EINTR;
  int domain = DomainOf(socket.Get());
  if (domain == AF_INET || domain == AF_INET6) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    if (getsockname(socket.Get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) return errno;
    if (PortOf(name) == 0) {
      int error = loopback_.Bind(socket.Get(), domain, loopback_.InsteadOf(name), 0);
      if (error != 0) return error;
    } else if (!loopback_.Has(name)) {
      return refusal;
    }
  } else if (domain != AF_UNIX || IsAbstract(socket.Get())) {
    return refusal;
  }
  uint64_t inode = InodeOf(socket.Get());
  {
    // Known before anybody can connect to it.
    std::lock_guard<std::mutex> lock(mutex_);
    if (listening_.count(inode) == 0) {
      if (listening_.size() >= kMostListening) return ENOBUFS;
      if (domain != AF_UNIX) {
        int error = loopback_.Shut(socket.Get());
        if (error != 0) return error;
      }
      listening_.insert(inode);
    }
  }
  if (listen(socket.Get(), static_cast<int>(notification.data.args[1])) == 0) {
    if (made_ != nullptr) made_->Forget(socket.Get());
    return 0;
  }
  int error = errno;
  std::lock_guard<std::mutex> lock(mutex_);
  listening_.erase(inode);
  return error;
}

void Servers::Answer(const seccomp_notif& notification, int refusal) {
  int error = notification.data.nr == SYS_bind ? Bind(notification, refusal)
                                               : Listen(notification, refusal);
  calls_->Reply(notification.id, error);
}

bool Servers::OwnUnix(int file) {
  UniqueFd diag(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.Valid()) return false;
  return IsOwn(ListenerTable(std::move(diag)).InodeAt(file));
}

// By the kernel's own table of listeners (sock_diag(7)), since a port may have been given up and
// taken by another meanwhile.
bool Servers::Listens(uint32_t ip, uint16_t port) {
  UniqueFd diag(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.Valid()) return false;
  bool own = false;
  for (int domain : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = static_cast<uint8_t>(domain);
    request.sdiag_protocol = IPPROTO_TCP;
    request.idiag_states = 1u << TCP_LISTEN;
    auto look = [&](const nlmsghdr* answer) {
      const auto* found = static_cast<const inet_diag_msg*>(NLMSG_DATA(answer));
      if (ntohs(found->id.idiag_sport) != port ||
          ntohl(found->id.idiag_src[domain == AF_INET ? 0 : 3]) != ip)
        return true;
      own = IsOwn(found->idiag_inode);
      return !own;
    };
    DumpSockets(diag.Get(), &request, sizeof request, look);
    if (own) return true;
  }
  return false;
}

uint32_t Servers::ServerAt(const sockaddr_storage& address) {
  uint32_t ip = loopback_.InsteadOf(address);
  for (; ip != 0; ip = loopback_.Second(ip))
    if (Listens(ip, PortOf(address))) return ip;
  return 0;
}

int Servers::Connect(int socket, uint16_t port) {
  // Asked again: whoever took it may listen no more.
  sockaddr_storage peer{};
  socklen_t peer_size = sizeof peer;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0) return 0;
  if (IsConnecting(socket)) return EALREADY;
  int domain = DomainOf(socket);
  sockaddr_storage asked{};
  asked.ss_family = static_cast<sa_family_t>(domain);
  if (domain == AF_INET)
    reinterpret_cast<sockaddr_in&>(asked).sin_port = htons(port);
  else
    reinterpret_cast<sockaddr_in6&>(asked).sin6_port = htons(port);
  uint32_t server = ServerAt(asked);
  if (server == 0) return ECONNREFUSED;
  int error = loopback_.BindClient(socket, domain);
  if (error != 0) return error;
  socklen_t size = 0;
  sockaddr_storage name = OwnLoopback::Address(domain, server, port, &size);
  int result = connect(socket, reinterpret_cast<sockaddr*>(&name), size);
  return result == 0 || errno == EISCONN ? 0 : errno;
}

}  // namespace holdfast
