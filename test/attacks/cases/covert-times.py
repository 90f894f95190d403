# title: leave a mark in the times or attributes of what everybody can see
# kind: covert
from attack import *
for path in "/dev/null", "/dev/zero", get("canary"), get("granted"), "/usr", "/usr/bin", "/etc":
    attempt(os.utime, path)
    attempt(os.setxattr, path, "user.mark", b"x")
    for flags in os.O_RDONLY, os.O_RDWR:
        fd = attempt(os.open, path, flags)
        if fd is not None:
            attempt(os.utime, fd)
