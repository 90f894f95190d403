# title: reach the keys of the launcher's session
# kind: covert
from attack import *
for ring in -1, -2, -3, -4, -5:
    if call("keyctl", 0, ring, 0) >= 0:
        escaped(f"keyring {ring}")
show(read("/proc/keys"))
