# title: write a setting of the kernel's or of another process
# kind: write
from attack import *
pid = get("pid")
for name, value in (("oom_score_adj", b"999"), ("comm", b"attacked"), ("autogroup", b"19"), ("coredump_filter", b"0"), ("timerslack_ns", b"1"), ("clear_refs", b"1"), ("attr/current", b"x")):
    for each in (pid, "1") if get("confined") == "yes" else (pid,):
        def write(path=f"/proc/{each}/{name}"):
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, value)
            return True
        if attempt(write) and each == "1":
            escaped(f"/proc/1/{name} was written")
for path in "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/user/max_inotify_instances", "/proc/self/oom_score_adj":
    if attempt(os.open, path, os.O_WRONLY) is not None and get("confined") == "yes":
        escaped(f"{path} was opened for writing")
