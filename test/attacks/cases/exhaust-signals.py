# title: queue all the signals that a user may have waiting
# kind: exhaust
from attack import *
signal.pthread_sigmask(signal.SIG_BLOCK, range(34, 65))
count = 0
while libc.sigqueue(os.getpid(), 34, ctypes.c_void_p(0)) == 0 and count < 2000000:
    count += 1
hold()
