# title: change a file that is granted for reading, or what is known of it
# kind: write
from attack import *
canary, folder = get("canary"), get("granted")
reading = attempt(os.open, canary, os.O_RDONLY)
for flags in os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND:
    fd = attempt(os.open, canary, flags)
    if fd is not None:
        attempt(os.write, fd, b"changed")
attempt(os.truncate, canary, 1)
attempt(os.chmod, canary, 0o777)
attempt(os.utime, canary, (1, 1))
attempt(os.setxattr, canary, "user.attack", b"x")
attempt(os.link, canary, "name")
attempt(open("name", "a").write, "changed") if os.path.exists("name") else None
attempt(os.rename, canary, "moved")
attempt(os.unlink, canary)
attempt(os.mkdir, f"{folder}/new")
attempt(os.symlink, "/", f"{folder}/link")
attempt(os.mkfifo, f"{folder}/fifo")
if reading is not None:
    attempt(os.fchmod, reading, 0o777)
    attempt(os.utime, reading, (1, 1))
    attempt(os.setxattr, reading, "user.attack", b"x")
    attempt(os.ftruncate, reading, 1)
    attempt(lambda: mmap.mmap(reading, 4, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).write(b"evil"))
    again = attempt(os.open, f"/proc/self/fd/{reading}", os.O_RDWR)
    attempt(os.write, again, b"changed") if again is not None else None
    attempt(os.copy_file_range, reading, reading, 4, 0, 2)
    flags = struct.pack("l", 0x40)  # FS_NODUMP_FL
    attempt(fcntl.ioctl, reading, 0x40086602, flags)  # FS_IOC_SETFLAGS
