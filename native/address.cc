#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>

#include "caller.h"

namespace holdfast {

int ReadAddress(const seccomp_notif& notification, sockaddr_storage* address, socklen_t* size) {
  *size = static_cast<socklen_t>(notification.data.args[2]);
  if (static_cast<int>(*size) < 0 || *size > sizeof *address) return EINVAL;
  bool read = *size == 0 || ReadMemory(notification.pid, notification.data.args[1], address,
                                       *size) == static_cast<ssize_t>(*size);
  return read ? 0 : EFAULT;
}

uint16_t PortOf(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in&>(address).sin_port
                   : reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

int DomainOf(int socket) {
  int domain = -1;
  socklen_t size = sizeof domain;
  return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 ? domain : -1;
}

bool IsConnecting(int socket) {
  uint8_t state = TCP_CLOSE;  // the first of struct tcp_info (tcp(7))
  socklen_t size = sizeof state;
  return getsockopt(socket, IPPROTO_TCP, TCP_INFO, &state, &size) == 0 && state == TCP_SYN_SENT;
}

}  // namespace holdfast
