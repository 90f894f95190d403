#include "made_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "caller.h"

namespace holdfast {

namespace {

// What is made and never used is closed by nobody else.
constexpr size_t kMostKept = 256;

}  // namespace

bool IsUdpSocket(const seccomp_data& call) {
  auto argument = [&](int place) { return static_cast<int>(call.args[place]); };
  return call.nr == SYS_socket && (argument(0) == AF_INET || argument(0) == AF_INET6) &&
         (argument(1) & 0xf) == SOCK_DGRAM && (argument(2) == 0 || argument(2) == IPPROTO_UDP);
}

void MadeSockets::Answer(const seccomp_notif& notification) {
  auto argument = [&](int place) { return static_cast<int>(notification.data.args[place]); };
  int domain = argument(0);
  int type = argument(1) & 0xf;  // SOCK_TYPE_MASK (linux/net.h)
  bool is_tcp = (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM &&
                (argument(2) == 0 || argument(2) == IPPROTO_TCP);
  bool is_unix = domain == AF_UNIX && (type == SOCK_STREAM || type == SOCK_SEQPACKET);
  if (!is_tcp && !is_unix) {
    calls_->Record(notification.data.nr, IsUdpSocket(notification.data) ? "udp" : "");
    return calls_->Reply(notification.id, EPERM);
  }
  UniqueFd made;
  {
    ActingAs user(*territory_);
    if (!user.Fine()) return calls_->Reply(notification.id, EACCES);
    made.Reset(socket(argument(0), argument(1) | SOCK_CLOEXEC, argument(2)));
    if (!made.Valid()) return calls_->Reply(notification.id, errno);
  }
  int handed = made.Get();
  uint64_t inode = InodeOf(handed);
  {
    // Known before the caller has it.
    std::lock_guard<std::mutex> lock(mutex_);
    if (kept_.size() >= kMostKept) kept_.pop_front();
    kept_.emplace_back(inode, UniqueFd(fcntl(handed, F_DUPFD_CLOEXEC, 3)));
  }
  if (calls_->HandIn(notification.id, handed, (argument(1) & SOCK_CLOEXEC) != 0) != 0) {
    int error = errno;
    Forget(handed);
    calls_->Reply(notification.id, error);
  }
}

UniqueFd MadeSockets::Find(uint32_t tid, int fd) {
  UniqueFd named = OpenDescriptor(tid, fd);
  if (!named.Valid()) {
    errno = errno == ENOENT ? EBADF : EACCES;
    return UniqueFd();
  }
  uint64_t inode = InodeOf(named.Get());
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [known, socket] : kept_)
    if (known == inode) return UniqueFd(fcntl(socket.Get(), F_DUPFD_CLOEXEC, 3));
  errno = EISCONN;
  return UniqueFd();
}

void MadeSockets::Forget(int socket) {
  uint64_t inode = InodeOf(socket);
  std::lock_guard<std::mutex> lock(mutex_);
  kept_.erase(std::remove_if(kept_.begin(), kept_.end(),
                             [inode](const auto& item) { return item.first == inode; }),
              kept_.end());
}

}  // namespace holdfast
