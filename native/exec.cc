#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "fdpass.h"
#include "outbox.h"
#include "wire.h"

namespace holdfast {

namespace {

constexpr size_t kMaxInline = 96 * 1024;  // well under the socket's send buffer

Status SealedMemfd(const void* data, size_t size, UniqueFd* fd) {
  fd->Reset(memfd_create("holdfast-request", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd->Valid()) return Status::Failed("exec", "memfd_create", errno);
  const auto* at = static_cast<const uint8_t*>(data);
  for (size_t left = size; left > 0;) {
    ssize_t written = write(fd->Get(), at, left);
    if (written < 0) return Status::Failed("exec", "write", errno);
    at += written;
    left -= static_cast<size_t>(written);
  }
  lseek(fd->Get(), 0, SEEK_SET);
  fcntl(fd->Get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return Status::Fine();
}

}  // namespace

Status SendExec(int control, const CallRequest& request, CallPipes* pipes) {
  ExecMessage message;
  if (request.message.size() < sizeof message) return Status::Failed("exec", "request", EINVAL);
  memcpy(&message, request.message.data(), sizeof message);
  std::vector<UniqueFd> fds;
  const uint8_t* data = request.message.data();
  size_t size = request.message.size();
  if (size > kMaxInline) {
    Status status = SealedMemfd(data + sizeof message, size - sizeof message, &fds.emplace_back());
    if (!status.Ok()) return status;
    message.flags |= kExecPayloadFd;
    message.payload_size = static_cast<uint32_t>(size - sizeof message);
    size = sizeof message;
  }
  message.pty_mask = 0;
  for (int i = 0; i < 3; i++) {
    switch (request.stdio[i]) {
      case Stdio::kPipe: {
        // A pipe, never a descriptor of the caller's: what a child could reopen through
        // /proc/self/fd is a pipe.
        int pair[2];
        if (pipe2(pair, O_CLOEXEC) != 0) return Status::Failed("exec", "pipe2", errno);
        int ours = i == 0 ? 1 : 0;
        pipes->ends[i].Reset(pair[ours]);
        fds.emplace_back(pair[1 - ours]);
        // Reopened through /proc/self/fd or /dev/stdout, whoever runs inside: in the child's own
        // direction only, else a program could take out of its output what it had printed.
        if (fchmod(pair[1 - ours], i == 0 ? 0444 : 0222) != 0)
          return Status::Failed("exec", "fchmod", errno);
        if (fcntl(pair[ours], F_SETFL, O_NONBLOCK | (i == 0 ? O_WRONLY : O_RDONLY)) != 0)
          return Status::Failed("exec", "fcntl", errno);
        break;
      }
      case Stdio::kPty:
        message.flags |= kExecPty;
        message.pty_mask |= 1u << i;
        message.pty_mask |= 1u << (16 + i);
        break;
      case Stdio::kMerge:
        message.flags |= kExecMergeStderr;
        message.pty_mask |= 1u << (16 + i);
        break;
      case Stdio::kNull:
        message.pty_mask |= 1u << (16 + i);
        break;
    }
  }
  std::vector<uint8_t> packet(size);
  memcpy(packet.data(), &message, sizeof message);
  memcpy(packet.data() + sizeof message, data + sizeof message, size - sizeof message);
  int error = PostPacket(control, std::move(packet), std::move(fds));
  return error == 0 ? Status::Fine() : Status::Failed("exec", "sendmsg", error);
}

Status SendRequest(int control, const void* data, size_t size, const void* content,
                   size_t content_size) {
  std::vector<UniqueFd> fds;
  if (content != nullptr) {
    Status status = SealedMemfd(content, content_size, &fds.emplace_back());
    if (!status.Ok()) return status;
  }
  const auto* bytes = static_cast<const uint8_t*>(data);
  int error = PostPacket(control, {bytes, bytes + size}, std::move(fds));
  return error == 0 ? Status::Fine() : Status::Failed("exec", "sendmsg", error);
}

bool ReceiveReply(int control, Received* received) {
  received->data.resize(sizeof(FileResultMessage) + 64);
  int fds[4];
  int fd_count = 4;
  ssize_t size = ReceivePacket(control, received->data.data(), received->data.size(), fds,
                               &fd_count, MSG_DONTWAIT);
  if (size <= 0) return false;
  received->data.resize(static_cast<size_t>(size));
  for (int i = 0; i < fd_count; i++) {
    if (i == 0)
      received->fd.Reset(fds[i]);
    else
      close(fds[i]);
  }
  return true;
}

}  // namespace holdfast
