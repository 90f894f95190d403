# title: learn the host's name, users and identity
# kind: covert
from attack import *
for path in "/etc/hostname", "/etc/hosts", "/proc/sys/kernel/hostname":
    if get("hostname").encode() in read(path):
        escaped(path)
if socket.gethostname() == get("hostname"):
    escaped("the host name")
for path in "/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/shadow", "/etc/gshadow", "/etc/fstab", "/sys/class/dmi/id/product_uuid", "/dev/kmsg", "/proc/kcore", "/proc/kmsg", "/dev/mem", "/run/systemd/journal/socket", "/proc/interrupts", "/proc/timer_list":
    if read(path):
        escaped(path)
users = read("/etc/passwd").decode()
if users.count("\n") > 3:
    escaped("the host's users")
