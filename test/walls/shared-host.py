# What Landlock does not judge (kernel-notes A), tried one by one on what lies outside of every grant: prints as JSON what
# the kernel answered, 0 where it was done. argv: a file (with a link to its folder beside it, `-link`), a listening Unix
# socket, a process and a port of the host's.
import ctypes, json, os, resource, socket, struct, sys

outside, unix_socket, pid, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
FASTOPEN = 0x20000000


def attempt(name, act):
    try:
        act()
        answers[name] = 0
    except OSError as error:
        answers[name] = error.errno


def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def tcp(protocol=0):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)


def unix_stream():
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(unix_socket)


def affinity():
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))


def on_file(act):
    descriptor = os.open(outside, os.O_PATH)
    try:
        act("/proc/self/fd/%d" % descriptor)
    finally:
        os.close(descriptor)


mode = os.stat(outside).st_mode & 0o777
attempt("fast open", lambda: tcp().sendto(b"x", FASTOPEN, ("127.0.0.1", port)))
attempt("fast open by sendmsg", lambda: tcp().sendmsg([b"x"], [], FASTOPEN, ("127.0.0.1", port)))
attempt("fast open by option", lambda: tcp().setsockopt(socket.IPPROTO_TCP, 30, 1))
attempt("multipath TCP", lambda: tcp(262).connect(("127.0.0.1", port)))
attempt("connect", lambda: tcp().connect(("127.0.0.1", port)))
attempt("UDP", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("share a port", lambda: tcp().setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1))
attempt("join a group", lambda: tcp().setsockopt(socket.IPPROTO_IP, 42, struct.pack("=I4xH2x4s120x", 1, socket.AF_INET, socket.inet_aton("239.1.2.3"))))
attempt("leave a server open", lambda: tcp().setsockopt(socket.SOL_SOCKET, 44, 1))  # SO_LOCK_FILTER
attempt("Unix socket outside", unix_stream)
attempt("Unix datagrams", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("Unix datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("abstract name", lambda: socket.socket(socket.AF_UNIX).bind("\0holdfast-%d" % os.getpid()))
attempt("limits of a process", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, resource.prlimit(pid, resource.RLIMIT_NOFILE)))
attempt("processors of a process", affinity)
attempt("priority of a process", lambda: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)))
attempt("mode", lambda: os.chmod(outside, mode))
attempt("mode by /proc", lambda: on_file(lambda path: os.chmod(path, mode)))
attempt("owner", lambda: os.chown(outside, os.getuid(), -1))
attempt("owner of a link", lambda: os.lchown(outside, os.getuid(), -1))
attempt("times", lambda: os.utime(outside, (1, 1)))
attempt("times of a link", lambda: os.utime(outside, (1, 1), follow_symlinks=False))
attempt("attribute", lambda: os.setxattr(outside, "user.holdfast", b"x"))
attempt("attribute removed", lambda: os.removexattr(outside, "user.holdfast"))
attempt("shared memory", lambda: call(29 if os.uname().machine == "x86_64" else 194, 0, 4096, 0o1600))
attempt("io_uring", lambda: call(425, 0, None))
attempt("truncate", lambda: os.truncate(outside, 0))
attempt("signal", lambda: os.kill(pid, 0))


def led_to():
    os.readlink("/proc/self/fd/%d" % os.open(outside + "-link", os.O_PATH))


def folder_led_to():
    here = os.getcwd()
    os.chdir(outside + "-link")
    try:
        os.getcwd()
    finally:
        os.chdir(here)


def watch():
    if libc.inotify_add_watch(libc.inotify_init1(0), os.path.dirname(outside).encode(), 0xFFF) < 0:
        raise OSError(ctypes.get_errno(), "")


def instances():
    for _ in range(40):
        if libc.inotify_init1(0) < 0:
            raise OSError(ctypes.get_errno(), "")


attempt("where a link leads", lambda: os.readlink(outside + "-link"))
attempt("where a descriptor leads", led_to)
attempt("where a folder is", folder_led_to)
attempt("what happens in a folder", watch)
attempt("many watchers", instances)


def reachable():
    server = tcp()
    server.listen()
    return server.getsockname()[0]


def wildcard():
    server = tcp()
    server.bind(("0.0.0.0", 0))
    return server.getsockname()[0]


print(json.dumps({"answers": answers, "listens": reachable(), "binds": wildcard()}))
