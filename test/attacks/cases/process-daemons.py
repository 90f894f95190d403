# title: leave something running, in every way to be hard to end
# kind: process
from attack import *
# One that a group or a session would miss, one deaf, one stopped, one that keeps making others, one that holds nothing.
def child(action):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.alarm(30)
            try:
                action()
            finally:
                os._exit(0)
        os._exit(0)
    os.wait()
def deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    time.sleep(30)
def stopped():
    os.kill(os.getpid(), signal.SIGSTOP)
def restless():
    for _ in range(400):
        if os.fork():
            os._exit(0)
        time.sleep(0.01)
def empty():
    os.chdir("/")
    os.closerange(0, 1024)
    time.sleep(30)
def tracked():
    libc.prctl(1, 0)
    libc.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    if os.fork() == 0:
        os.setsid()
    time.sleep(30)
for action in deaf, stopped, restless, empty, tracked:
    child(action)
