// Packets with descriptors over a Unix socket: sendmsg(2), recvmsg(2), unix(7) SCM_RIGHTS. In a
// header, since the addon and the static init share it and are linked apart.
#pragma once

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

namespace holdfast {

constexpr int kMaxPassedFds = 32;

// Sends one packet. Returns 0, or an errno. Never raises SIGPIPE.
inline int SendPacket(int socket, const void* data, size_t size, const int* fds, int fd_count,
                      int flags) {
  iovec iov{const_cast<void*>(data), size};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPassedFds)];
  if (fd_count > kMaxPassedFds) return E2BIG;
  if (fd_count > 0) {
    memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<size_t>(fd_count));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<size_t>(fd_count));
    memcpy(CMSG_DATA(header), fds, sizeof(int) * static_cast<size_t>(fd_count));
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL | flags) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

// Receives one packet into `data`; descriptors arrive with close-on-exec set. Returns its size, 0
// at the end of the stream, or -errno. `*fd_count` is the room on entry and the number received on
// return; descriptors beyond the room are closed by the kernel.
inline ssize_t ReceivePacket(int socket, void* data, size_t size, int* fds, int* fd_count,
                             int flags) {
  iovec iov{data, size};
  msghdr message{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPassedFds)];
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  int room = *fd_count;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<size_t>(room));
  *fd_count = 0;
  ssize_t received;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t bytes = header->cmsg_len - CMSG_LEN(0);
    int count = static_cast<int>(bytes / sizeof(int));
    memcpy(fds + *fd_count, CMSG_DATA(header), static_cast<size_t>(count) * sizeof(int));
    *fd_count += count;
  }
  return received;
}

}  // namespace holdfast
