// Connections to the loopback of the network namespace that a socket was made in.
#pragma once

#include <stdint.h>

namespace holdfast {

// Connects a non-blocking TCP socket to a port of 127.0.0.1, or of ::1 where it is one of IPv6.
// Returns 0, EINPROGRESS or EALREADY until it is settled (then it is to be called again), or
// another errno: connect(2).
int ConnectLoopback(int fd, uint16_t port);

}  // namespace holdfast
