# title: make a socket of a family that leads past the network namespace or to rarely tested code
# kind: network
from attack import *
fine = {(socket.AF_UNIX, 1, 0), (socket.AF_UNIX, 5, 0), (socket.AF_INET, 1, 0), (socket.AF_INET6, 1, 0), (socket.AF_INET, 2, 0), (socket.AF_INET6, 2, 0)}
for family in range(46):
    for kind in 1, 2, 3, 4, 5, 6, 10:
        made = call("socket", family, kind, 0)
        if made >= 0 and (family, kind, 0) not in fine and (family, kind) not in ((16, 2), (16, 3)):
            escaped(f"family {family}, type {kind}")
for protocol in range(1, 23):
    if call("socket", 16, 3, protocol) >= 0:
        escaped(f"netlink {protocol}")
# Bits above the type, and above the call's own arguments.
for family, kind, protocol in ((1, 2 | 0o4000, 0), (2, 3, 1), (2 | 1 << 32, 3, 1), (38, 5, 0), (40, 1, 0), (2, 2, 1)):
    if call("socket", family, kind, protocol) >= 0:
        escaped(f"family {family}, type {kind}, protocol {protocol}")
