# What every case in Python imports: parameters (`key=value`), the verdict, raw system calls.
import ctypes, errno, fcntl, glob, json, mmap, os, resource, select, signal, socket, stat, struct, subprocess, sys, threading, time

parameters = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
libc = ctypes.CDLL(None, use_errno=True)
numbers = json.loads(parameters.get("calls", "{}"))
signal.alarm(60)


def get(key):
    return parameters[key]


def escaped(what):
    print("ESCAPED", what, flush=True)
    os._exit(0)


def attempt(action, *args, **options):
    """What the action comes to, or None where it is refused."""
    try:
        return action(*args, **options)
    except (OSError, ValueError, OverflowError):
        return None


def call(name, *args):
    """A raw system call: its result, or minus the errno."""
    if name not in numbers:
        return -errno.ENOSYS
    result = libc.syscall(ctypes.c_long(numbers[name]), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    return -ctypes.get_errno() if result == -1 else result


def text(value):
    return ctypes.create_string_buffer(value if isinstance(value, bytes) else value.encode())


def read(path, size=65536):
    def action():
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(fd, size)
        finally:
            os.close(fd)
    return attempt(action) or b""


def show(data):
    """Everything that was read: the secret may be in it."""
    sys.stdout.buffer.write(data if isinstance(data, bytes) else str(data).encode())
    sys.stdout.flush()


def hold():
    """Keeps what was taken until the outside has looked."""
    print("# hold", flush=True)
    sys.stdin.read()
