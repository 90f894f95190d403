// Socket addresses that a caller names.
#pragma once

#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

namespace holdfast {

// The address of a bind(2) or connect(2), read once: 0, or an errno for the caller.
int ReadAddress(const seccomp_notif& notification, sockaddr_storage* address, socklen_t* size);

// Of an address of AF_INET or AF_INET6, in the host's byte order.
uint16_t PortOf(const sockaddr_storage& address);

// The address family of a socket, or -1 and errno.
int DomainOf(int socket);

// Whether a TCP socket's connect is under way: its peer has not answered yet.
bool IsConnecting(int socket);

}  // namespace holdfast
