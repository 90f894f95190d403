#include "sock_diag.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>

namespace holdfast {

bool DumpSockets(int diag, const void* body, size_t size,
                 const std::function<bool(const nlmsghdr*)>& look) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(sizeof header + size);
  header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  iovec parts[] = {
      {&header,                 sizeof header},
      {const_cast<void*>(body), size         }
  };
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (sendmsg(diag, &message, 0) < 0) return false;
  for (;;) {
    alignas(nlmsghdr) char buffer[32 * 1024];
    ssize_t got = recv(diag, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    auto left = static_cast<size_t>(got);
    for (char* at = buffer;;) {
      auto* answer = reinterpret_cast<nlmsghdr*>(at);
      if (!NLMSG_OK(answer, left)) break;
      if (answer->nlmsg_type == NLMSG_DONE) return true;
      if (answer->nlmsg_type != SOCK_DIAG_BY_FAMILY || !look(answer)) return false;
      // NLMSG_NEXT would take the padding that the last one may lack from what is left.
      size_t step = NLMSG_ALIGN(answer->nlmsg_len);
      at += step;
      left = step < left ? left - step : 0;
    }
  }
}

}  // namespace holdfast
