# title: find something of the outside's among the descriptors, or get one handed
# kind: read
from attack import *
for fd in range(1024):
    target = attempt(os.readlink, f"/proc/self/fd/{fd}")
    if target is None:
        continue
    if target.startswith("/") and not target.startswith(("/dev/null", "/proc")) and get("confined") == "yes":
        escaped(f"descriptor {fd} is {target}")
    for flags in os.O_RDWR, os.O_WRONLY, os.O_RDONLY:
        again = attempt(os.open, f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK)
        if again is not None and fd > 2 and get("confined") == "yes" and stat.S_ISREG(os.fstat(again).st_mode):
            escaped(f"descriptor {fd} was opened again")
for address in "\0" + get("abstract"), "\0" + get("abstract") + "-packets", get("service"), get("granted-service"):
    for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
        client = attempt(socket.socket, socket.AF_UNIX, kind)
        if client is None or attempt(client.connect, address) is None and not attempt(client.getpeername):
            continue
        client.settimeout(2)
        got = attempt(socket.recv_fds, client, 64, 4)
        if got and got[1]:
            show(read(f"/proc/self/fd/{got[1][0]}/secret"))
