# title: change the limits, the priority or the place of a process outside
# kind: process
from attack import *
pid = int(get("pid"))
attempt(resource.prlimit, pid, resource.RLIMIT_CORE, (0, 0))
call("prlimit64", pid, resource.RLIMIT_NOFILE, text(struct.pack("QQ", 100, 100)), 0)
attempt(os.sched_setaffinity, pid, {0})
attempt(os.setpriority, os.PRIO_PROCESS, pid, 19)
if get("confined") == "yes":  # outside it would slow down all that the user has
    attempt(os.setpriority, os.PRIO_USER, os.getuid(), 18)
attempt(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
call("ioprio_set", 1, pid, 3 << 13)
