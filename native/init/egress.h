// What lets the broker carry a sandbox's connections: every address is local (an AnyIP route), one
// listener takes them all, and a resolver's sockets stand at the only name server.
#pragma once

#include <stdint.h>

namespace holdfast {

constexpr int kEgressSockets = 3;

// In the network namespace of the sandbox, with its capabilities. `sockets` are the listener of the
// connections that the broker makes, and the resolver's, for datagrams and for streams. Returns 0,
// or an errno with the call's name in `*what`.
int RaiseEgress(uint16_t port, int (&sockets)[kEgressSockets], const char** what);

}  // namespace holdfast
