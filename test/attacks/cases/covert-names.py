# title: see that a name or a port is taken outside, and take it there
# kind: covert
from attack import *
server = socket.socket()
if attempt(server.bind, ("127.0.0.1", int(get("tcp")))) is None and server.getsockname()[1] == 0:
    escaped("the port is taken")
if libc.shmget(int(get("number")), 1, 0) >= 0 or libc.msgget(int(get("number")), 0) >= 0:
    escaped("an IPC key is taken")
if attempt(open, "/dev/shm/" + get("mark")) is not None:
    escaped("a file in /dev/shm")
