# title: reach a service of the host behind a Unix socket, in a granted folder and elsewhere
# kind: network
from attack import *
for service in get("service"), get("granted-service"):
    folder = os.path.dirname(service)
    attempt(os.symlink, folder, "way")
    opened = attempt(os.open, folder, os.O_RDONLY | os.O_DIRECTORY)
    place = attempt(os.open, service, os.O_PATH)
    for name, kind in (("service", socket.SOCK_STREAM), ("packets", socket.SOCK_SEQPACKET), ("datagrams", socket.SOCK_DGRAM)):
        for path in f"{folder}/{name}.sock", f"way/{name}.sock", f"/proc/self/fd/{opened}/{name}.sock", f"/proc/self/root{folder}/{name}.sock", f"/proc/self/fd/{place}":
            for pair in (False, True) if kind == socket.SOCK_DGRAM else (False,):
                client = attempt(socket.socketpair, socket.AF_UNIX, kind) if pair else attempt(socket.socket, socket.AF_UNIX, kind)
                client = client[0] if pair and client else client
                if client is None:
                    continue
                client.settimeout(1)
                attempt(client.sendmsg, [b"x"], [], 0, path)
                attempt(client.connect, path)
                attempt(client.send, b"x")
                if kind != socket.SOCK_DGRAM:
                    show(attempt(client.recv, 64) or b"")
    attempt(os.unlink, "way")
