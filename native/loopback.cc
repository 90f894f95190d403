#include "loopback.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "address.h"

namespace holdfast {

int ConnectLoopback(int fd, uint16_t port) {
  int family = DomainOf(fd);
  if (family < 0) return errno;
  sockaddr_in ipv4{};
  ipv4.sin_family = AF_INET;
  ipv4.sin_port = htons(port);
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 ipv6{};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(port);
  ipv6.sin6_addr = in6addr_loopback;
  int result = family == AF_INET6 ? connect(fd, reinterpret_cast<sockaddr*>(&ipv6), sizeof ipv6)
                                  : connect(fd, reinterpret_cast<sockaddr*>(&ipv4), sizeof ipv4);
  return result == 0 || errno == EISCONN ? 0 : errno;
}

}  // namespace holdfast
