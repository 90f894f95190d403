# title: have more processes or threads than the limit
# kind: exhaust
# limits: processes=32
# ways: processes, threads, orphans
from attack import *
made = 0
for _ in range(120):
    try:
        if get("way") == "threads":
            threading.Thread(target=time.sleep, args=(4,), daemon=True).start()
        elif os.fork() == 0:
            if get("way") == "orphans":
                os.setsid()
                if os.fork():
                    os._exit(0)
            time.sleep(4)
            os._exit(0)
        made += 1
    except (OSError, RuntimeError):
        break
time.sleep(0.5)
if made == 120:
    escaped("120 where 32 was the limit")
