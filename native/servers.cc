#include "servers.h"

#include <arpa/inet.h>
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

uint64_t InodeOf(int socket) {
  struct stat status;
  return fstat(socket, &status) == 0 ? status.st_ino : 0;
}

int DomainOf(int socket) {
  int domain = -1;
  socklen_t size = sizeof domain;
  return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 ? domain : -1;
}

bool IsLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == 127;
  return address.ss_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

bool IsWildcard(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr == htonl(INADDR_ANY);
  return address.ss_family == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
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

// Unix names are Landlock's to judge (MAKE_SOCK), in the caller: it goes on. Whatever stands at the
// number or the address by then, a name of the network is refused by Landlock as well.
int Servers::Bind(const seccomp_notif& notification, int refusal, bool* go_on) {
  UniqueFd socket = SocketOf(notification);
  if (!socket.Valid()) return errno;
  int domain = DomainOf(socket.Get());
  sockaddr_storage address{};
  socklen_t size = 0;
  int error = ReadAddress(notification, &address, &size);
  if (error != 0) return error;
  if (!calls_->StillValid(notification.id)) return EINTR;
  if (domain == AF_UNIX || domain == AF_NETLINK) {
    const auto& name = reinterpret_cast<const sockaddr_un&>(address);
    // Abstract names are everybody's on the host: one could be taken before its service.
    if (domain == AF_UNIX && size > sizeof(sa_family_t) && name.sun_path[0] == 0) {
      calls_->Record(notification.data.nr, "an abstract name");
      return refusal;
    }
    *go_on = true;
    return 0;
  }
  if (domain != AF_INET && domain != AF_INET6) return refusal;
  if (address.ss_family != domain || size < (domain == AF_INET ? sizeof(sockaddr_in) : 24))
    return EINVAL;
  if (IsWildcard(address)) {
    // Every address of its own: that is the loopback here.
    if (domain == AF_INET)
      reinterpret_cast<sockaddr_in&>(address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
      reinterpret_cast<sockaddr_in6&>(address).sin6_addr = in6addr_loopback;
  }
  if (!IsLoopback(address)) {
    calls_->Record(notification.data.nr, "port " + std::to_string(PortOf(address)));
    return refusal;
  }
  // Root's right to the low ports is not the sandbox's.
  if (PortOf(address) != 0 && PortOf(address) < 1024) return EACCES;
  return bind(socket.Get(), reinterpret_cast<sockaddr*>(&address), size) == 0 ? 0 : errno;
}

// Never "go on": a TCP socket that is not bound would be, to every address of the host.
int Servers::Listen(const seccomp_notif& notification, int refusal) {
  UniqueFd socket = SocketOf(notification);
  if (!socket.Valid()) return errno;
  if (!calls_->StillValid(notification.id)) return EINTR;
  int domain = DomainOf(socket.Get());
  if (domain == AF_INET || domain == AF_INET6) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    if (getsockname(socket.Get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) return errno;
    if (PortOf(name) == 0) {
      if (domain == AF_INET)
        reinterpret_cast<sockaddr_in&>(name).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      else
        reinterpret_cast<sockaddr_in6&>(name).sin6_addr = in6addr_loopback;
      if (bind(socket.Get(), reinterpret_cast<sockaddr*>(&name), size) != 0) return errno;
    } else if (!IsLoopback(name)) {
      return refusal;
    }
  } else if (domain != AF_UNIX) {
    return refusal;
  }
  uint64_t inode = InodeOf(socket.Get());
  {
    // Known before anybody can connect to it.
    std::lock_guard<std::mutex> lock(mutex_);
    if (listening_.size() >= kMostListening) return ENOBUFS;
    listening_.insert(inode);
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
  bool go_on = false;
  int error = notification.data.nr == SYS_bind ? Bind(notification, refusal, &go_on)
                                               : Listen(notification, refusal);
  if (go_on)
    calls_->GoOn(notification.id);
  else
    calls_->Reply(notification.id, error);
}

bool Servers::OwnUnix(int file) {
  UniqueFd diag(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.Valid()) return false;
  return IsOwn(ListenerTable(std::move(diag)).InodeAt(file));
}

// inet_diag(7): by the kernel's own table of listeners, since a port may have been given up and
// taken by another meanwhile.
bool Servers::OwnPort(int domain, uint16_t port) {
  UniqueFd diag(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.Valid()) return false;
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<uint8_t>(domain);
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = 1u << TCP_LISTEN;
  bool own = false;
  auto look = [&](const nlmsghdr* answer) {
    const auto* found = static_cast<const inet_diag_msg*>(NLMSG_DATA(answer));
    if (ntohs(found->id.idiag_sport) != port) return true;
    // Several listeners on one port (SO_REUSEPORT, a more specific address): all of them ours.
    own = IsOwn(found->idiag_inode);
    return own;
  };
  return DumpSockets(diag.Get(), &request, sizeof request, look) && own;
}

}  // namespace holdfast
