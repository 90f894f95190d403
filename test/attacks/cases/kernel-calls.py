# title: make calls that are no program's business
# kind: kernel
from attack import *
AT, me = -100, os.getpid()
zeroes, path = text(bytes(256)), text("/")
for name, *arguments in (
    ("userfaultfd", 1), ("io_uring_setup", 4, zeroes), ("bpf", 5, zeroes, 64), ("perf_event_open", zeroes, 0, -1, -1, 0),
    ("add_key", text("user"), text("attack"), text("x"), 1, -3), ("keyctl", 0, -3, 1), ("request_key", text("user"), text("attack"), 0, -3),
    ("fanotify_init", 0, 0), ("memfd_secret", 0), ("process_madvise", os.pidfd_open(me), zeroes, 0, 0, 0),
    ("pidfd_getfd", os.pidfd_open(me), 0, 0), ("kcmp", me, me, 0, 0, 0), ("name_to_handle_at", AT, path, zeroes, zeroes, 0),
    ("quotactl", 0x800001, 0, 0, zeroes), ("quotactl_fd", 0, 0, 0, zeroes), ("swapon", path, 0), ("swapoff", path), ("syslog", 10, 0, 0),
    ("lookup_dcookie", 0, zeroes, 64), ("open_tree", AT, path, 1), ("open_tree", AT, path, 0), ("fsopen", text("tmpfs"), 0), ("fspick", AT, path, 0),
    ("mount", text("x"), text("/tmp"), text("tmpfs"), 0, 0), ("umount2", text("/tmp"), 2), ("pivot_root", path, path), ("chroot", path),
    ("mount_setattr", AT, path, 0, zeroes, 32), ("move_mount", AT, path, AT, path, 0), ("statmount", zeroes, zeroes, 64, 0), ("listmount", zeroes, zeroes, 8, 0),
    ("modify_ldt", 0, zeroes, 64), ("personality", 0x0040000), ("personality", 0x0400000), ("personality", 8), ("io_setup", 1, zeroes),
    ("process_vm_readv", me, zeroes, 0, zeroes, 0, 0), ("process_vm_writev", me, zeroes, 0, zeroes, 0, 0), ("ptrace", 0, 0, 0, 0),
    ("openat2", AT, path, text(struct.pack("QQQ", os.O_PATH, 0, 0)), 24), ("sethostname", text("attacked"), 8), ("setdomainname", text("x"), 1),
    ("acct", path), ("vhangup",), ("iopl", 3), ("ioperm", 0, 1, 1), ("init_module", zeroes, 1, path), ("finit_module", 0, path, 0), ("delete_module", path, 0),
    ("kexec_load", 0, 0, zeroes, 0), ("kexec_file_load", 0, 0, 0, zeroes, 0), ("reboot", 0xfee1dead - 2**32, 672274793, 0, zeroes),
    ("settimeofday", zeroes, 0), ("clock_settime", 0, zeroes), ("adjtimex", zeroes), ("sysfs", 3), ("ustat", 0, zeroes), ("uselib", path), ("remap_file_pages", 0, 0, 0, 0, 0),
    ("file_setattr", AT, path, zeroes, 24, 0), ("setxattrat", AT, path, 0, text("user.x"), zeroes, 16), ("landlock_restrict_self", -1, 8), ("cachestat", 0, zeroes, zeroes, 0),
):
    result = call(name, *arguments)
    if result >= 0:
        escaped(f"{name} = {result}")
