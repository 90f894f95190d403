# title: write a larger file, or hold more descriptors, than the limit
# kind: exhaust
# limits: file-size=1M open-files=64
# ways: write, truncate, allocate, memory, descriptors
from attack import *
if get("way") == "descriptors":
    held = []
    try:
        while len(held) < 200:
            held.append(os.dup(0))
    except OSError:
        sys.exit()
    escaped("200 descriptors where 64 was the limit")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.memfd_create("attack") if get("way") == "memory" else os.open("big", os.O_CREAT | os.O_RDWR, 0o600)
if get("way") == "truncate":
    attempt(os.ftruncate, fd, 64 * 2**20)
elif get("way") == "allocate":
    attempt(os.posix_fallocate, fd, 0, 8 * 2**20)
else:
    for _ in range(8):
        attempt(os.write, fd, bytes(2**20))
    attempt(os.pwrite, fd, b"x", 64 * 2**20)
if os.fstat(fd).st_size > 2**20:
    escaped(f"{os.fstat(fd).st_size} bytes where a million was the limit")
