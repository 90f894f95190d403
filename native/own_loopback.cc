#include "own_loopback.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

namespace holdfast {

namespace {

// 0 where it is no IPv4 address.
uint32_t Ipv4Of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr);
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return IN6_IS_ADDR_V4MAPPED(&ip) ? ntohl(ip.s6_addr32[3]) : 0;
}

bool IsIpv4(const sockaddr_storage& address) {
  return address.ss_family == AF_INET ||
         IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

}  // namespace

bool IsLoopback(const sockaddr_storage& address) {
  if (IsIpv4(address)) {
    uint32_t net = Ipv4Of(address) >> 24;
    return net == 127 || net == 0;
  }
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return address.ss_family == AF_INET6 &&
         (IN6_IS_ADDR_LOOPBACK(&ip) || IN6_IS_ADDR_UNSPECIFIED(&ip));
}

bool OwnLoopback::Has(const sockaddr_storage& address) const {
  return IsIpv4(address) && (Ipv4Of(address) & ~1u) == first_;
}

uint32_t OwnLoopback::InsteadOf(const sockaddr_storage& address) const {
  if (Has(address)) return Ipv4Of(address);
  return IsIpv4(address) ? first_ : first_ + 1;
}

sockaddr_storage OwnLoopback::Address(int domain, uint32_t ip, uint16_t port, socklen_t* size) {
  sockaddr_storage made{};
  made.ss_family = static_cast<sa_family_t>(domain);
  if (domain == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(made);
    in.sin_addr.s_addr = htonl(ip);
    in.sin_port = htons(port);
    *size = sizeof in;
    return made;
  }
  auto& in6 = reinterpret_cast<sockaddr_in6&>(made);
  in6.sin6_addr.s6_addr32[2] = htonl(0xffff);
  in6.sin6_addr.s6_addr32[3] = htonl(ip);
  in6.sin6_port = htons(port);
  *size = sizeof in6;
  return made;
}

int OwnLoopback::Bind(int socket, int domain, uint32_t ip, uint16_t port) const {
  int off = 0;
  if (domain == AF_INET6) setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  socklen_t size = 0;
  sockaddr_storage name = Address(domain, ip, port, &size);
  return bind(socket, reinterpret_cast<sockaddr*>(&name), size) == 0 ? 0 : errno;
}

int OwnLoopback::BindClient(int socket, int domain) const {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) return errno;
  if (Has(name)) return 0;
  int on = 1;  // the port is chosen with the peer: one port serves many
  setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  return Bind(socket, domain, first_, 0);
}

// Before a listener's filter lies the TCP header; the network's is found from SKF_NET_OFF on, and
// the sender at its byte 12 (RFC 791).
int OwnLoopback::Shut(int socket) const {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_NET_OFF + 12)),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~1u),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first_, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, ~0u),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  sock_fprog filter{sizeof program / sizeof *program, program};
  int on = 1;
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0 &&
      setsockopt(socket, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on) == 0)
    return 0;
  return errno == EPERM ? 0 : errno;
}

}  // namespace holdfast
