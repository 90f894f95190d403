// Whose a listening Unix socket is, by the file that it is bound to.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>

#include "fd.h"

namespace holdfast {

class ListenerTable {
 public:
  // A NETLINK_SOCK_DIAG socket of the network namespace that is asked about; without one nothing is
  // known to be foreign.
  explicit ListenerTable(UniqueFd diag) : diag_(std::move(diag)) {}

  // Whether the file is a socket on which nobody of the namespace listens. False when the kernel
  // does not tell.
  bool IsForeign(int file);

  // The inode of the socket that listens on the file; 0 where none does, or it cannot be told
  // which.
  uint64_t InodeAt(int file);

 private:
  // False when the kernel does not tell.
  bool Find(int file, bool* found, uint64_t* inode);

  UniqueFd diag_;
  std::mutex mutex_;
};

}  // namespace holdfast
