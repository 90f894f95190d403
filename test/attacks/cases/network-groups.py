# title: send netlink messages to processes and groups outside, which the launcher may name and a program may not
# kind: network
# control: the kernel refuses it to whoever is not root
from attack import *
for place in ((0, 1), (get("pid"), 0)):
    client = attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0)
    if client is not None and attempt(lambda: client.connect((int(place[0]), place[1])) or True):
        escaped(f"connected to {place}")
