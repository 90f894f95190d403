// Servers of a sandbox that shares the host's network: what it binds and listens on is done on its
// behalf, and nobody but itself is connected to by it (kernel-notes A1, A2).
#pragma once

#include <linux/seccomp.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "fd.h"
#include "made_sockets.h"
#include "notified.h"
#include "own_loopback.h"
#include "territory.h"
#include "unix_names.h"

namespace holdfast {

class Servers {
 public:
  // `made` is null where programs' own sockets can be had.
  Servers(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<MadeSockets> made,
          const std::shared_ptr<const Territory>& territory)
      : calls_(std::move(calls)),
        made_(std::move(made)),
        loopback_(territory->loopback),
        names_(territory) {}

  // Answers bind and listen; `refusal` is the errno for what is out of reach.
  void Answer(const seccomp_notif& notification, int refusal);

  // Whether somebody inside listens on the Unix socket that this file (O_PATH) is the name of.
  bool OwnUnix(int file);

  // Of an address of the loopback: where somebody inside listens on its port; 0 where nobody does.
  uint32_t ServerAt(const sockaddr_storage& address);

  const OwnLoopback& loopback() const { return loopback_; }

  // From outside, as ConnectLoopback (loopback.h).
  int Connect(int socket, uint16_t port);

 private:
  int Bind(const seccomp_notif& notification, int refusal);
  int Listen(const seccomp_notif& notification, int refusal);
  bool IsOwn(uint64_t inode);
  bool Listens(uint32_t ip, uint16_t port);

  UniqueFd SocketOf(const seccomp_notif& notification);

  const std::shared_ptr<NotifiedCalls> calls_;
  const std::shared_ptr<MadeSockets> made_;
  const OwnLoopback loopback_;
  const UnixNames names_;
  std::mutex mutex_;
  std::set<uint64_t> listening_;  // inodes of sockets, which the kernel gives to no two
};

}  // namespace holdfast
