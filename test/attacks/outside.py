# The world outside, held by a process of the same user: listeners that say who came, a secret in memory and in System V
# objects, and the same things to try that an exhausted store would refuse. One JSON line in, one out.
import ctypes, fcntl, json, os, resource, selectors, signal, socket, struct, sys, threading

folder, granted, secret, number = sys.argv[1], sys.argv[2], os.environ["ATTACK_SECRET"], int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
hits, signals = {}, []
# As the launcher does.
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
selector = selectors.DefaultSelector()
in_memory = ctypes.create_string_buffer(secret.encode())


def hit(name):
    hits[name] = hits.get(name, 0) + 1


def listen(name, family, address, kind=socket.SOCK_STREAM):
    try:
        server = socket.socket(family, kind)
        server.bind(address)
        if kind != socket.SOCK_DGRAM:
            server.listen(16)
    except OSError:
        return None
    if family == socket.AF_UNIX and not address.startswith("\0"):
        os.chmod(address, 0o777)
    server.setblocking(False)
    selector.register(server, selectors.EVENT_READ, (name, kind))
    return server.getsockname()


def serve(server, name, kind):
    hit(name)
    if kind == socket.SOCK_DGRAM:
        server.recv(65536)
        return
    client, _ = server.accept()
    try:
        if client.family == socket.AF_UNIX:
            outside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            socket.send_fds(client, [secret.encode()], [outside])
            os.close(outside)
        else:
            client.send(secret.encode())
    except OSError:
        pass
    client.close()


def note(number, _frame):
    signals.append(number)


for each in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG, signal.SIGIO, signal.SIGHUP, signal.SIGTERM):
    signal.signal(each, note)

SHM_SIZE, CREATE = 4096, 0o1000 | 0o666
segment = libc.shmget(number, SHM_SIZE, CREATE)
place = libc.shmat(segment, None, 0)
ctypes.memmove(place, in_memory, len(secret))
queue = libc.msgget(number, CREATE)
message = ctypes.create_string_buffer(struct.pack("l", 1) + secret.encode())
libc.msgsnd(queue, message, len(secret), 0)
pidfd = os.pidfd_open(os.getpid())
handle = ctypes.create_string_buffer(struct.pack("Ii", 120, 0) + bytes(120))
mount = ctypes.c_int()
AT_EMPTY_PATH, NAME_TO_HANDLE_AT = 0x1000, {"x86_64": 303, "aarch64": 264}[os.uname().machine]
named = libc.syscall(NAME_TO_HANDLE_AT, pidfd, b"", handle, ctypes.byref(mount), AT_EMPTY_PATH)
abstract = f"attack-{number:x}"
group = "239.%d.%d.%d" % tuple(number.to_bytes(4, "big")[1:])
group6 = f"ff0e::{number >> 16:x}:{number & 0xffff:x}"
facts = {
    "pid": os.getpid(),
    "address": ctypes.addressof(in_memory),
    "size": len(secret),
    "number": number,
    "segment": segment,
    "queue": queue,
    "tcp": (listen("tcp", socket.AF_INET, ("127.0.0.1", 0)) or (0, 0))[1],
    "tcp6": (listen("tcp6", socket.AF_INET6, ("::1", 0)) or (0, 0))[1],
    "udp": (listen("udp", socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM) or (0, 0))[1],
    "udp6": (listen("udp6", socket.AF_INET6, ("::1", 0), socket.SOCK_DGRAM) or (0, 0))[1],
    "abstract": abstract,
    "service": f"{folder}/service.sock",
    "granted-service": f"{granted}/service.sock",
    "group": group,
    "group6": group6,
    "pidfd-handle": handle.raw.hex() if named == 0 else "",
}
listen("abstract", socket.AF_UNIX, "\0" + abstract)
listen("abstract", socket.AF_UNIX, "\0" + abstract + "-packets", socket.SOCK_SEQPACKET)
listen("abstract", socket.AF_UNIX, "\0" + abstract + "-datagrams", socket.SOCK_DGRAM)
for place_of, name in ((folder, "service"), (granted, "granted-service")):
    listen(name, socket.AF_UNIX, f"{place_of}/service.sock")
    listen(name, socket.AF_UNIX, f"{place_of}/packets.sock", socket.SOCK_SEQPACKET)
    listen(name, socket.AF_UNIX, f"{place_of}/datagrams.sock", socket.SOCK_DGRAM)


def status():
    own = f"/proc/{os.getpid()}"
    return {
        "hits": hits,
        "signals": signals,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "scheduler": os.sched_getscheduler(0),
        "oom": open(f"{own}/oom_score_adj").read(),
        "limits": open(f"{own}/limits").read(),
        "name": open(f"{own}/comm").read(),
    }


def stores():
    """Whether there is something left of what all of the user's processes, or the machine, share."""
    left = {}
    timer = ctypes.c_void_p()
    left["timers"] = libc.timer_create(1, None, ctypes.byref(timer)) == 0
    if left["timers"]:
        libc.timer_delete(timer)
    watcher = libc.inotify_init()
    left["inotify"] = watcher >= 0
    if watcher >= 0:
        os.close(watcher)
    context = ctypes.c_ulong(0)
    setup, destroy = {"x86_64": (206, 207), "aarch64": (0, 1)}[os.uname().machine]
    left["aio"] = libc.syscall(setup, 8, ctypes.byref(context)) == 0
    if left["aio"]:
        libc.syscall(destroy, context)
    here, there = socket.socketpair()
    try:
        socket.send_fds(here, [b"x"], [0])
        left["descriptors"] = True
    except OSError:
        left["descriptors"] = False
    here.close()
    there.close()
    # As the kernel writes them (net/ipv4/igmp.c, net/ipv6/mcast.c).
    own = f"{int.from_bytes(socket.inet_aton(group), sys.byteorder):08X}"
    own6 = socket.inet_pton(socket.AF_INET6, group6).hex()
    left["groups that nobody joined"] = own not in table("igmp") and own6 not in table("igmp6")
    return left


def table(name):
    try:
        return open(f"/proc/net/{name}").read()
    except OSError:
        return ""


def visit(family, address):
    """What a program outside gets that connects to a port of its own loopback, or to an abstract name."""
    try:
        with socket.socket(family) as client:
            client.settimeout(2)
            client.connect(address)
            return client.recv(64).decode("latin1")
    except OSError:
        return ""


print(json.dumps(facts), flush=True)
selector.register(sys.stdin, selectors.EVENT_READ, None)
while True:
    for key, _ in selector.select():
        if key.data is not None:
            try:
                serve(key.fileobj, *key.data)
            except OSError:
                pass
            continue
        line = sys.stdin.readline()
        if line == "":
            libc.shmctl(segment, 0, None)
            libc.msgctl(queue, 0, None)
            sys.exit(0)
        asked = json.loads(line)
        if asked["ask"] == "status":
            print(json.dumps(status()), flush=True)
        elif asked["ask"] == "stores":
            print(json.dumps(stores()), flush=True)
        elif asked["ask"] == "visit":
            answer = []
            where = (socket.AF_INET, ("127.0.0.1", asked["port"])) if "port" in asked else (socket.AF_UNIX, "\0" + asked["name"])
            visitor = threading.Thread(target=lambda: answer.append(visit(*where)))
            visitor.start()
            visitor.join()
            print(json.dumps({"said": answer[0]}), flush=True)
