# title: send a datagram to the host
# kind: network
from attack import *
udp, udp6 = int(get("udp")), int(get("udp6"))
for family, address in ((socket.AF_INET, ("127.0.0.1", udp)), (socket.AF_INET, ("0.0.0.0", udp)), (socket.AF_INET6, ("::1", udp6)), (socket.AF_INET6, ("::ffff:127.0.0.1", udp))):
    for kind, protocol in ((socket.SOCK_DGRAM, 0), (socket.SOCK_DGRAM, 136), (socket.SOCK_RAW, 255), (6, 0)):  # UDP-Lite, raw, DCCP
        client = attempt(socket.socket, family, kind, protocol)
        if client is None:
            continue
        attempt(client.setsockopt, socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        attempt(client.sendto, b"x", address)
        attempt(client.sendmsg, [b"x"], [], 0, address)
        attempt(client.connect, address)
        attempt(client.send, b"x")
