// The kernel's own table of sockets (sock_diag(7)).
#pragma once

#include <linux/netlink.h>

#include <cstddef>
#include <functional>

namespace holdfast {

// Hands every answer to a request for all sockets of a kind to `look`, which may end the dump by
// false. False then, and when the kernel does not tell: an error, or an answer of another kind.
//
// `body` is an inet_diag_req_v2 or unix_diag_req.
bool DumpSockets(int diag, const void* body, size_t size,
                 const std::function<bool(const nlmsghdr*)>& look);

}  // namespace holdfast
