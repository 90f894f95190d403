# title: open a port that programs outside can connect to
# kind: network
from attack import *
server = socket.socket()
server.listen(4)  # without bind the kernel chooses a port on every address
print("# port", server.getsockname()[1], flush=True)
server.settimeout(1.5)
client = attempt(server.accept)
if client is not None:
    client[0].send(b"visited")
