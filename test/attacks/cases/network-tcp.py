# title: reach a TCP server of the host's loopback
# kind: network
from attack import *
tcp, tcp6 = int(get("tcp")), int(get("tcp6"))
addresses = [(socket.AF_INET, (host, tcp)) for host in ("127.0.0.1", "0.0.0.0", "127.9.9.9")]
addresses += [(socket.AF_INET6, ("::1", tcp6)), (socket.AF_INET6, ("::", tcp6)), (socket.AF_INET6, ("::ffff:127.0.0.1", tcp))]
for family, address in addresses:
    for protocol in 0, 6, 262, 132, 256:  # TCP, MPTCP, SCTP, SMC
        client = attempt(socket.socket, family, socket.SOCK_STREAM, protocol)
        if client is None:
            continue
        client.settimeout(1)
        attempt(client.connect, address)
        show(attempt(client.recv, 64) or b"")
        client.close()
    fast = attempt(socket.socket, family, socket.SOCK_STREAM)
    fast.settimeout(1)
    attempt(fast.sendto, b"x", 0x20000000, address)  # MSG_FASTOPEN
    show(attempt(fast.recv, 64) or b"")
    late = attempt(socket.socket, family, socket.SOCK_STREAM)
    late.settimeout(1)
    attempt(late.setsockopt, 6, 30, 1)  # TCP_FASTOPEN_CONNECT
    attempt(late.connect, address)
    attempt(late.send, b"x")
    show(attempt(late.recv, 64) or b"")
    plain = attempt(socket.socket, family, socket.SOCK_STREAM)
    plain.setblocking(False)
    attempt(plain.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    plain.connect_ex(address)
    select.select([], [plain], [], 1)
    attempt(plain.send, b"x")
