# title: hold more memory than the limit, in one process, in many, and shared
# kind: exhaust
# limits: memory=64M
# ways: one, many, shared, pages
from attack import *
size = 224 * 2**20
if get("way") == "one":
    held = bytearray(size)
elif get("way") == "many":
    here, there = os.pipe()
    for _ in range(20):
        if os.fork() == 0:
            os.close(there)
            os.read(here, 1)
            held = bytearray(size // 20)
            time.sleep(3)
            os._exit(0)
    os.close(there)
    os.close(here)
    time.sleep(1.5)
elif get("way") == "shared":
    held = mmap.mmap(-1, size)
    for at in range(0, size, 4096):
        held[at] = 1
else:
    held = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.madvise(14)  # MADV_HUGEPAGE
    for at in range(0, size, 4096):
        held[at] = 1
time.sleep(0.3)
escaped("224M where 64M was the limit")
