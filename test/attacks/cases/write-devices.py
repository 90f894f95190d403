# title: make a device, or change one that everybody shares
# kind: write
from attack import *
for name in "null", "zero", "full", "random", "urandom", "tty":
    attempt(os.utime, f"/dev/{name}")
    attempt(os.chmod, f"/dev/{name}", 0o777)
    attempt(os.setxattr, f"/dev/{name}", "trusted.attack", b"x")
for kind in stat.S_IFCHR, stat.S_IFBLK:
    for device in os.makedev(1, 1), os.makedev(0, 0), os.makedev(254, 0):
        attempt(os.mknod, f"node{kind}{device}", kind | 0o666, device)
        if os.path.lexists(f"node{kind}{device}"):
            escaped("a device was made")
attempt(os.rename, "work-file", "whiteout")
call("renameat2", -100, text("whiteout"), -100, text("moved"), 4)
if os.path.lexists("whiteout") and stat.S_ISCHR(os.lstat("whiteout").st_mode):
    escaped("a whiteout was made")
