# title: join groups of hosts, which the kernel tells the network of
# kind: network
from attack import *
LOOPBACK, ADD, ADD_SOURCE, JOIN, JOIN_SOURCE, JOIN6 = 1, 35, 39, 42, 46, 20
group, group6 = socket.inet_aton(get("group")), socket.inet_pton(socket.AF_INET6, get("group6"))
source, source6 = socket.inet_aton("192.0.2.1"), socket.inet_pton(socket.AF_INET6, "2001:db8::1")


def name(family, address):
    head = struct.pack("=H", family) + bytes(2 if family == socket.AF_INET else 6)
    return (head + address).ljust(128, b"\0")


index = struct.pack("=I4x", LOOPBACK)
held = []
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    for family, level, option, value in (
        (socket.AF_INET, socket.IPPROTO_IP, ADD, group + bytes(4) + index[:4]),
        (socket.AF_INET, socket.IPPROTO_IP, ADD_SOURCE, group + socket.inet_aton("127.0.0.1") + source),
        (socket.AF_INET, socket.IPPROTO_IP, JOIN, index + name(socket.AF_INET, group)),
        (socket.AF_INET, socket.IPPROTO_IP, JOIN_SOURCE, index + name(socket.AF_INET, group) + name(socket.AF_INET, source)),
        (socket.AF_INET6, socket.IPPROTO_IPV6, JOIN6, group6 + index[:4]),
        (socket.AF_INET6, socket.IPPROTO_IPV6, JOIN, index + name(socket.AF_INET6, group6)),
        (socket.AF_INET6, socket.IPPROTO_IPV6, JOIN_SOURCE, index + name(socket.AF_INET6, group6) + name(socket.AF_INET6, source6)),
        (socket.AF_INET6, socket.IPPROTO_IP, JOIN, index + name(socket.AF_INET, group)),
    ):
        client = attempt(socket.socket, family, kind)
        if client is not None:
            held.append(client)
            attempt(client.setsockopt, level, option, value)
hold()
