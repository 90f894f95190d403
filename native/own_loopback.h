// The loopback of a sandbox that shares the host's network: addresses of 127/8 that nobody else
// uses, which only its own programs reach.
#pragma once

#include <sys/socket.h>

#include <cstdint>

namespace holdfast {

// Of any kind: 0.0.0.0 and :: reach it as well (kernel-notes E8).
bool IsLoopback(const sockaddr_storage& address);

class OwnLoopback {
 public:
  // `first` in the host's byte order, even: it stands for 127/8, and the next one for ::1, which
  // IPv6 has no more of (as an IPv4-mapped address).
  explicit OwnLoopback(uint32_t first) : first_(first) {}

  bool Has(const sockaddr_storage& address) const;

  // What stands for a loopback address.
  uint32_t InsteadOf(const sockaddr_storage& address) const;
  // The next best, where no server listens on that: those of :: are reached by 127/8 as well.
  uint32_t Second(uint32_t ip) const { return ip == first_ ? first_ + 1 : 0; }

  // 0 or an errno. Sockets of AF_INET6 are made to take IPv4-mapped addresses first.
  int Bind(int socket, int domain, uint32_t ip, uint16_t port) const;
  // Clients come from here, or else servers would not hear them.
  int BindClient(int socket, int domain) const;

  // What does not come from here does not get to the socket, nor to those accepted from it, and
  // nobody can undo that (SO_LOCK_FILTER, socket(7)). 0 or an errno; 0 as well where the kernel
  // leaves that to CAP_NET_ADMIN (from August 2026 on, for TCP), and nobody but who looks for the
  // address finds it.
  int Shut(int socket) const;

  static sockaddr_storage Address(int domain, uint32_t ip, uint16_t port, socklen_t* size);

 private:
  uint32_t first_;
};

}  // namespace holdfast
