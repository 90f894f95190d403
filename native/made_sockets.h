// Sockets that the broker makes and hands in, where a container's profile refuses pidfd_getfd, so
// that a program's own could not be had (kernel-notes A5). Each is kept until it is in use.
#pragma once

#include <linux/seccomp.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "fd.h"
#include "notified.h"
#include "territory.h"

namespace holdfast {

// Whether socket(2) asks for UDP: programs speak it, and C libraries ask the kernel for routes by
// it.
bool IsUdpSocket(const seccomp_data& call);

class MadeSockets {
 public:
  MadeSockets(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<const Territory> territory)
      : calls_(std::move(calls)), territory_(std::move(territory)) {}

  // Answers socket(2).
  void Answer(const seccomp_notif& notification);

  // A duplicate of what the caller has at the number; none, with EISCONN, where it is in use
  // already or none of ours.
  UniqueFd Find(uint32_t tid, int fd);

  // It is connected, or listens: whoever closes it then is to be the last.
  void Forget(int socket);

 private:
  const std::shared_ptr<NotifiedCalls> calls_;
  const std::shared_ptr<const Territory> territory_;
  std::mutex mutex_;
  std::deque<std::pair<uint64_t, UniqueFd>> kept_;  // by inode, the newest last
};

}  // namespace holdfast
