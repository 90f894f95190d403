# title: stop, end, starve or slow down the sandbox's own init
# kind: process
# control: there is no such init outside, and pid 1 there is somebody else's
from attack import *
before = attempt(resource.prlimit, 1, resource.RLIMIT_NOFILE), attempt(os.sched_getaffinity, 1), attempt(os.getpriority, os.PRIO_PROCESS, 1)
done = []
for number in (0, *range(1, 65)):
    if call("kill", 1, number) >= 0 or call("tgkill", 1, 1, number) >= 0:
        done.append(f"signal {number}")
pidfd = call("pidfd_open", 1, 0)
if pidfd >= 0 and call("pidfd_send_signal", pidfd, signal.SIGKILL, 0, 0) >= 0:
    done.append("pidfd")
for limit in resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC:
    if call("prlimit64", 1, limit, text(struct.pack("QQ", 1, 1)), 0) >= 0:
        done.append(f"limit {limit}")
for name, *arguments in (("sched_setaffinity", 1, 8, text(struct.pack("Q", 1))), ("sched_setscheduler", 1, 5, text(struct.pack("i", 0))), ("setpriority", 0, 1, 19), ("setpriority", 2, os.getuid(), 19), ("ioprio_set", 1, 1, 3 << 13), ("migrate_pages", 1, 64, text(bytes(8)), text(bytes(8))), ("process_madvise", pidfd, 0, 0, 21, 0), ("kcmp", 1, os.getpid(), 0, 0, 0)):
    if call(name, *arguments) >= 0:
        done.append(name)
after = attempt(resource.prlimit, 1, resource.RLIMIT_NOFILE), attempt(os.sched_getaffinity, 1), attempt(os.getpriority, os.PRIO_PROCESS, 1)
if done or before != after:
    escaped(f"{done} {before} {after}")
