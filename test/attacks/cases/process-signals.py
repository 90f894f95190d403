# title: signal a process outside by every call that sends one
# kind: process
from attack import *
pid, number = int(get("pid")), signal.SIGUSR1
information = text(struct.pack("iiiiii", number, 0, -1, os.getpid(), os.getuid(), 0) + bytes(104))
call("kill", pid, number)
call("kill", -pid, number)
call("tkill", pid, number)
call("tgkill", pid, pid, number)
call("rt_sigqueueinfo", pid, number, information)
call("rt_tgsigqueueinfo", pid, pid, number, information)
pidfd = call("pidfd_open", pid, 0)
if pidfd >= 0:
    call("pidfd_send_signal", pidfd, number, 0, 0)
here, there = os.pipe()
for owner in pid, -pid:
    attempt(fcntl.fcntl, here, fcntl.F_SETOWN, owner)
    attempt(fcntl.fcntl, here, 10, number)  # F_SETSIG
    attempt(fcntl.fcntl, here, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    attempt(os.write, there, b"x")
    call("fcntl", here, 15, text(struct.pack("ii", 1, pid)))  # F_SETOWN_EX
    attempt(os.write, there, b"x")
