# title: reach an abstract socket of the host, or see that its name is taken
# kind: network
from attack import *
name = "\0" + get("abstract")
for suffix, kind in (("", socket.SOCK_STREAM), ("-packets", socket.SOCK_SEQPACKET), ("-datagrams", socket.SOCK_DGRAM)):
    client = attempt(socket.socket, socket.AF_UNIX, kind)
    if client is None:
        continue
    client.settimeout(1)
    attempt(client.connect, name + suffix)
    attempt(client.send, b"x")
    show(attempt(client.recv, 64) or b"")
    taken = socket.socket(socket.AF_UNIX, kind)
    if attempt(taken.bind, name + suffix) is None and not taken.getsockname():
        escaped("the name is taken here as well")
