// Connects that a sandbox's programs ask for, made on their behalf: by a few threads, since one may
// wait for as long as its peer likes.
#pragma once

#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "ancestry.h"
#include "fd.h"
#include "flows.h"
#include "foreign_code.h"
#include "listeners.h"
#include "made_sockets.h"
#include "notified.h"
#include "own_files.h"
#include "servers.h"

namespace holdfast {

class Connects : public std::enable_shared_from_this<Connects> {
 public:
  // `sockets` and `carried` as for WatchListener (notify.h); `foreign` is null where nobody looks.
  // `made` as for Servers; it and `servers` are those of a sandbox that shares the host's network,
  // null where it has one of its own.
  Connects(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<ForeignCode> foreign,
           UniqueFd sockets, UniqueFd carried, int init_pid, std::shared_ptr<Servers> servers,
           std::shared_ptr<MadeSockets> made, std::shared_ptr<const OwnFiles> own);

  // Answers it sooner or later; `refusal` is the errno for what is out of reach.
  void Dispatch(const seccomp_notif& notification, int refusal);

  Flows& flows() { return flows_; }

  // Nothing is answered any more.
  void Close();

 private:
  // A connect that nobody has answered yet.
  struct Pending {
    seccomp_notif notification;
    int refusal;
    std::chrono::steady_clock::time_point since;
  };

  void ForgetTheGone();
  void Work();
  bool IsQuiet();
  bool Connect(const Pending& pending, bool may_wait);
  int ConnectOut(const Pending& pending, int socket, const sockaddr_storage& address,
                 socklen_t size);
  int ConnectUnix(const Pending& pending, int socket, const sockaddr_un& address, socklen_t size);

  int ConnectLoopback(const Pending& pending, int socket, int domain,
                      const sockaddr_storage& address, socklen_t size);

  const std::shared_ptr<NotifiedCalls> calls_;
  const std::shared_ptr<ForeignCode> foreign_;
  const std::shared_ptr<Servers> servers_;
  const std::shared_ptr<MadeSockets> made_;
  const std::shared_ptr<const OwnFiles> own_;
  ListenerTable sockets_;
  Flows flows_;
  Ancestries ancestries_;
  const int init_pid_;
  uint64_t pid_namespace_ = 0;
  std::mutex mutex_;
  std::deque<Pending> waiting_;  // not tried yet: those first
  std::deque<Pending> stuck_;    // tried for a while
  size_t many_;
  std::condition_variable wake_;
  size_t threads_ = 0;
  size_t idle_ = 0;
  bool closed_ = false;
};

}  // namespace holdfast
