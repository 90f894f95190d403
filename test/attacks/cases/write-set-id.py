# title: leave a set-user-ID or set-group-ID file behind
# kind: write
from attack import *
AT = -100
for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("both", 0o6777)):
    path = f"planted-{name}"
    open(path, "w").write("#!/bin/sh\n")
    call("chmod", text(path), mode)
    call("fchmodat", AT, text(path), mode)
    call("fchmodat2", AT, text(path), mode, 0)
    fd = os.open(path, os.O_RDWR)
    call("fchmod", fd, mode)
    call("fchmodat2", fd, text(""), mode, 0x1000)
    call("fchmodat", AT, text(f"/proc/self/fd/{fd}"), mode)
    os.umask(0)
    call("openat", AT, text(path + "1"), os.O_CREAT | os.O_WRONLY, mode)
    call("open", text(path + "2"), os.O_CREAT | os.O_WRONLY, mode)
    call("creat", text(path + "3"), mode)
    call("mknod", text(path + "4"), stat.S_IFREG | mode, 0)
    call("mknodat", AT, text(path + "5"), stat.S_IFREG | mode, 0)
    call("openat2", AT, text(path + "6"), text(struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, mode, 0)), 24)
    call("mkdir", text(path + "7"), mode)
    # The kernel looks at the low bits only.
    call("chmod", text(path), mode | 1 << 32)
    temporary = call("openat", AT, text("."), os.O_TMPFILE | os.O_RDWR, mode)
    if temporary >= 0:
        call("linkat", temporary, text(""), AT, text(path + "8"), 0x1000)
        call("linkat", AT, text(f"/proc/self/fd/{temporary}"), AT, text(path + "9"), 0x400)
call("setxattr", text("planted-suid"), text("security.capability"), text(struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0)), 20, 0)
for entry in os.scandir("."):
    if entry.name.startswith("planted") and entry.stat(follow_symlinks=False).st_mode & 0o6000:
        escaped(f"{entry.name} has mode {entry.stat().st_mode:o}")
    if b"security.capability" in os.fsencode(" ".join(attempt(os.listxattr, entry.path, follow_symlinks=False) or [])):
        escaped(f"{entry.name} has capabilities")
