# title: learn what runs outside
# kind: covert
from attack import *
for process in glob.glob("/proc/[0-9]*"):
    show(read(f"{process}/environ"))
    if b"outside.py" in read(f"{process}/cmdline"):
        escaped(f"{process} is a process of the outside")
for name in "self/mountinfo", "net/tcp", "net/unix", "net/udp", "locks", "sysvipc/msg", "keys", "key-users":
    data = read(f"/proc/{name}").decode("latin1")
    if get("mark") in data or f":{int(get('tcp')):04X} " in data:
        escaped(f"/proc/{name} tells of the outside")
if attempt(os.kill, int(get("pid")), 0) is None and attempt(os.getpgid, int(get("pid"))) is not None:
    escaped("the process is there")
