#include "egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast {

namespace {

constexpr int kLoopbackIndex = 1;  // of every network namespace
constexpr int kBacklog = 4096;
constexpr uint16_t kDnsPort = 53;
constexpr uint32_t kResolver = 0x7F000035;  // 127.0.0.53

// rtnetlink(7). @returns what the kernel answers: an errno, or 0; that it is there already is no
// fault.
int Ask(int netlink, const void* request, size_t request_size) {
  if (send(netlink, request, request_size, 0) < 0) return errno;
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[512];
  } reply{};
  ssize_t size = read(netlink, &reply, sizeof reply);
  if (size < 0) return errno;
  if (static_cast<size_t>(size) < sizeof reply.header + sizeof reply.error ||
      reply.header.nlmsg_type != NLMSG_ERROR)
    return EPROTO;
  return reply.error.error == -EEXIST ? 0 : -reply.error.error;
}

// `ip route add local default dev lo`. Whoever connects to any address connects to
// this namespace.
int AddLocalRoute(int netlink, uint8_t family) {
  struct {
    nlmsghdr header;
    rtmsg route;
    rtattr attribute;
    int32_t device;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
  request.route.rtm_family = family;
  request.route.rtm_table = RT_TABLE_LOCAL;
  request.route.rtm_protocol = RTPROT_BOOT;
  request.route.rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  request.route.rtm_type = RTN_LOCAL;
  request.attribute.rta_len = RTA_LENGTH(sizeof request.device);
  request.attribute.rta_type = RTA_OIF;
  request.device = kLoopbackIndex;
  return Ask(netlink, &request, sizeof request);
}

// `ip addr add ADDRESS dev lo`. Where a namespace has no address but 127.0.0.1 and ::1, glibc finds
// none of a name's for who asks for one family and AI_ADDRCONFIG (its check_pf.c). These two are
// enough for it, and no address that anybody takes for one to be reached at. A kernel that does not
// want them loses nothing else.
void AddAddress(int netlink, uint8_t family, const void* address, uint32_t size) {
  struct {
    nlmsghdr header;
    ifaddrmsg message;
    rtattr attribute;
    uint8_t address[sizeof(in6_addr)];
  } request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.message) + RTA_LENGTH(size);
  request.header.nlmsg_type = RTM_NEWADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
  request.message.ifa_family = family;
  request.message.ifa_prefixlen = static_cast<uint8_t>(8 * size);
  request.message.ifa_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_LINK;
  request.message.ifa_index = kLoopbackIndex;
  request.attribute.rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
  request.attribute.rta_type = IFA_LOCAL;
  memcpy(request.address, address, size);
  static_cast<void>(Ask(netlink, &request, request.header.nlmsg_len));
}

int BindIpv4(int type, uint32_t address, uint16_t port, int* out) {
  int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
      (type == SOCK_STREAM && listen(fd, kBacklog) != 0)) {
    int error = errno;
    close(fd);
    return error;
  }
  *out = fd;
  return 0;
}

// For both families where the kernel has both: without SO_REUSEPORT, so that no program inside can
// bind a more specific address of this port (kernel-notes B5).
int BindProxy(uint16_t port, bool has_ipv6, int* out) {
  if (!has_ipv6) return BindIpv4(SOCK_STREAM, INADDR_ANY, port, out);
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  int off = 0;
  sockaddr_in6 name{};
  name.sin6_family = AF_INET6;
  name.sin6_port = htons(port);
  if (syscall(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
      bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 || listen(fd, kBacklog) != 0) {
    int error = errno;
    close(fd);
    return error;
  }
  *out = fd;
  return 0;
}

}  // namespace

int RaiseEgress(uint16_t port, int (&sockets)[kEgressSockets], const char** what) {
  for (int& fd : sockets) fd = -1;
  *what = "socket";
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) return errno;
  *what = "route";
  int error = AddLocalRoute(netlink, AF_INET);
  // A kernel without IPv6 has nothing to be routed.
  int ipv6_error = error == 0 ? AddLocalRoute(netlink, AF_INET6) : 0;
  const uint32_t resolver = htonl(kResolver);
  AddAddress(netlink, AF_INET, &resolver, sizeof resolver);
  const in6_addr link_local{{{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};
  if (error == 0 && ipv6_error == 0) AddAddress(netlink, AF_INET6, &link_local, sizeof link_local);
  close(netlink);
  if (error != 0) return error;
  bool has_ipv6 = ipv6_error == 0;
  if (!has_ipv6 && ipv6_error != EAFNOSUPPORT && ipv6_error != EOPNOTSUPP) return ipv6_error;
  *what = "listen";
  error = BindProxy(port, has_ipv6, &sockets[0]);
  if (error == 0) error = BindIpv4(SOCK_DGRAM, kResolver, kDnsPort, &sockets[1]);
  if (error == 0) error = BindIpv4(SOCK_STREAM, kResolver, kDnsPort, &sockets[2]);
  return error;
}

}  // namespace holdfast
