# title: type into a terminal, read its screen, or change what it is, by numbers with high bits too
# kind: kernel
from attack import *
import pty
master, slave = pty.openpty()
attempt(os.setsid)
attempt(fcntl.ioctl, slave, 0x540E, 0)  # TIOCSCTTY
# TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD
for number, argument in ((0x5412, text("x")), (0x541C, text("\x02")), (0x541D, 0), (0x5423, text(struct.pack("i", 0)))):
    for high in 0, 1 << 32, 1 << 63:
        os.set_blocking(slave, False)
        for fd in slave, master:
            if call("ioctl", fd, number | high if high < 1 << 63 else -(1 << 63) + number, argument) >= 0:
                escaped(f"ioctl {number:#x}, high bits {high:#x}")
