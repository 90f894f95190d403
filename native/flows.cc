#include "flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <utility>

#include "caller.h"

namespace holdfast {

namespace {

// As many as may wait for JavaScript: a program could make more than it is ever told of.
constexpr size_t kMostWaiting = 256;
constexpr int kAcceptMs = 50;
constexpr int kBacklog = 4096;

struct Endpoint {
  in6_addr address{};
  uint16_t port = 0;
};

// IPv4 in its mapped form: the listener is of both families.
Endpoint EndpointOf(const sockaddr_storage& name) {
  Endpoint found;
  if (name.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(name);
    found.address = in6.sin6_addr;
    found.port = ntohs(in6.sin6_port);
  } else if (name.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(name);
    found.address.s6_addr[10] = found.address.s6_addr[11] = 0xff;
    memcpy(&found.address.s6_addr[12], &in.sin_addr, 4);
    found.port = ntohs(in.sin_port);
  }
  return found;
}

bool Same(const Endpoint& one, const Endpoint& other) {
  return one.port == other.port && memcmp(&one.address, &other.address, sizeof one.address) == 0;
}

std::string TextOf(const in6_addr& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (IN6_IS_ADDR_V4MAPPED(&address))
    inet_ntop(AF_INET, &address.s6_addr[12], text, sizeof text);
  else
    inet_ntop(AF_INET6, &address, text, sizeof text);
  return text;
}

// The peer sees a reset, not an end.
void Reset(int socket) {
  linger now{1, 0};
  setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

Program ReadProgram(uint32_t tid, const OwnFiles& own) {
  Program program;
  program.file.Reset(open(ProcPath(tid, "/exe").c_str(), O_PATH | O_CLOEXEC));
  struct stat status;
  if (!program.file.Valid() || fstat(program.file.Get(), &status) != 0) return program;
  program.path = PlaceOf(program.file.Get());
  if (program.path.empty()) return program;
  program.known = true;
  program.device = status.st_dev;
  program.inode = status.st_ino;
  program.changed_ns =
      static_cast<int64_t>(status.st_ctim.tv_sec) * 1000000000 + status.st_ctim.tv_nsec;
  program.links = status.st_nlink;
  program.read_only = !own.Has(program.file.Get(), status, program.path);
  return program;
}

UniqueFd ListenOnLoopback() {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!listener.Valid() ||
      bind(listener.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener.Get(), kBacklog) != 0)
    return UniqueFd();
  return listener;
}

Flows::Flows(UniqueFd listener) : listener_(std::move(listener)) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (listener_.Valid() &&
      getsockname(listener_.Get(), reinterpret_cast<sockaddr*>(&name), &size) == 0)
    port_ = EndpointOf(name).port;
  on_loopback_ = name.ss_family == AF_INET &&
                 reinterpret_cast<sockaddr_in&>(name).sin_addr.s_addr == htonl(INADDR_LOOPBACK);
}

UniqueFd Flows::AcceptPeerOf(int socket) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) != 0) return UniqueFd();
  Endpoint wanted = EndpointOf(own);
  for (;;) {
    sockaddr_storage peer{};
    size = sizeof peer;
    UniqueFd accepted(accept4(listener_.Get(), reinterpret_cast<sockaddr*>(&peer), &size,
                              SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (accepted.Valid()) {
      if (Same(EndpointOf(peer), wanted)) return accepted;
      Reset(accepted.Get());  // nobody knows whose it is
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) return UniqueFd();
    // One that answers late (TCP_DEFER_ACCEPT, TCP_QUICKACK, a write that waits) answers now.
    const int now = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now);
    pollfd source{listener_.Get(), POLLIN, 0};
    if (poll(&source, 1, kAcceptMs) <= 0) return UniqueFd();
  }
}

int Flows::Carry(int socket, const sockaddr_storage& to, socklen_t size, uint32_t tid,
                 Program program, const std::function<int(const sockaddr*, socklen_t)>& connect) {
  Flow flow;
  Endpoint asked = EndpointOf(to);
  flow.address = TextOf(asked.address);
  flow.port = asked.port;
  flow.pid = static_cast<int32_t>(tid);
  flow.program = std::move(program);
  sockaddr_storage target = to;
  if (target.ss_family == AF_INET6)
    reinterpret_cast<sockaddr_in6&>(target).sin6_port = htons(port_);
  else
    reinterpret_cast<sockaddr_in&>(target).sin_port = htons(port_);
  if (on_loopback_ && target.ss_family == AF_INET6) {
    auto& address = reinterpret_cast<sockaddr_in6&>(target).sin6_addr;
    address = in6_addr{};
    address.s6_addr[10] = address.s6_addr[11] = 0xff;
    address.s6_addr[12] = 127;
    address.s6_addr[15] = 1;
    // Such an address is none of IPv6 for a socket that wants no other (Go's "tcp6").
    const int both = 0;
    setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
  } else if (on_loopback_) {
    reinterpret_cast<sockaddr_in&>(target).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  int error;
  {
    std::lock_guard<std::mutex> one(connecting_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (flows_.size() >= kMostWaiting) return ECONNREFUSED;
    }
    error = connect(reinterpret_cast<sockaddr*>(&target), size);
    // A socket that does not wait is told so, though its connection is made by now: it asks again.
    if (error > 0 && error != EINPROGRESS) return error;
    flow.socket = AcceptPeerOf(socket);
    // One that waits and was cut short on a busy host is connected once the other end is here. Left
    // for later, that end would be nobody's.
    if (error < 0) error = 0;
  }
  if (!flow.socket.Valid()) {
    shutdown(socket, SHUT_RDWR);
    return ECONNREFUSED;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  flows_.push_back(std::move(flow));
  return error;
}

void Flows::Tell() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (changed_ && !flows_.empty()) changed_();
}

void Flows::OnFlow(std::function<void()> changed) {
  std::lock_guard<std::mutex> lock(mutex_);
  changed_ = std::move(changed);
  if (changed_ && !flows_.empty()) changed_();
}

std::vector<Flow> Flows::Take() {
  std::vector<Flow> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  taken.swap(flows_);
  return taken;
}

}  // namespace holdfast
