# title: get a capability, another user's or group's rights, or take back a promise
# kind: process
from attack import *
call("unshare", 0x10000000)
for name, *arguments in (("setuid", 0), ("setresuid", 0, 0, 0), ("setgid", 0), ("setgroups", 1, text(struct.pack("i", 0))), ("setfsuid", 0)):
    call(name, *arguments)
call("prctl", 38, 0, 0, 0, 0)
call("prctl", 28, 0, 0, 0, 0)
call("prctl", 47, 2, 21, 0, 0)
call("capset", text(struct.pack("Ii", 0x20080522, 0)), text(struct.pack("IIIIII", *[2**32 - 1] * 6)))
found = dict(line.split(":\t", 1) for line in read("/proc/self/status").decode().splitlines() if ":\t" in line)
for name in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
    if int(found[name], 16):
        escaped(f"{name} {found[name]}")
if found["NoNewPrivs"] != "1" or os.geteuid() == 0:
    escaped("no_new_privs is not set, or we are root")
