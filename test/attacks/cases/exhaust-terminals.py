# title: take all the terminals of the machine
# kind: exhaust
# control: it would take them from everybody for a moment
from attack import *
held = []
while (fd := attempt(os.open, "/dev/ptmx", os.O_RDWR | os.O_NOCTTY)) is not None:
    held.append(fd)
if len(held) > 1024:
    escaped(f"{len(held)} terminals")
