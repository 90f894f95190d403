// Names of Unix sockets, given on a program's behalf where its sandbox shares the host's view: the
// address lies in the program's memory, and read once more it could be an abstract name, which
// Landlock lets everybody take on the whole host.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>

#include "fd.h"
#include "territory.h"

namespace holdfast {

class UnixNames {
 public:
  // Before anything runs that could put something else where the territory's folders are.
  explicit UnixNames(std::shared_ptr<const Territory> territory);

  // bind(2) of a duplicate of the caller's socket to a path, judged by Landlock as in the caller.
  // Returns an errno or 0.
  int Bind(uint32_t tid, int socket, const sockaddr_storage& address, socklen_t size) const;

 private:
  int BindHere(int folder, mode_t mask, int socket, const sockaddr_storage& address,
               socklen_t size) const;

  const std::shared_ptr<const Territory> territory_;
  UniqueFd ruleset_;  // sockets are made in what is writable, and nowhere else
};

}  // namespace holdfast
