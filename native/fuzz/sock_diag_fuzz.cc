// A dump of the kernel's sockets (sock_diag.h), from a kernel that says anything: nothing is read
// beyond what it said.
#include <stdlib.h>
#include <sys/socket.h>

#include <cstdint>

#include "fd.h"
#include "sock_diag.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
  holdfast::UniqueFd own(ends[0]);
  holdfast::UniqueFd kernel(ends[1]);
  // Two datagrams, and then the end.
  size_t first = size / 2;
  if (send(kernel.Get(), data, first, MSG_DONTWAIT) < 0) return -1;
  if (send(kernel.Get(), data + first, size - first, MSG_DONTWAIT) < 0) return -1;
  shutdown(own.Get(), SHUT_RD);
  const char body[8] = {};
  size_t sum = 0;
  holdfast::DumpSockets(own.Get(), body, sizeof body, [&](const nlmsghdr* answer) {
    auto* bytes = reinterpret_cast<const uint8_t*>(answer);
    for (size_t i = 0; i < answer->nlmsg_len; i++) sum += bytes[i];
    return true;
  });
  return sum == SIZE_MAX ? 1 : 0;
}
