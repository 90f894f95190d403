# title: fill memory with names of empty files
# kind: exhaust
# limits: tmp-size=4M
from attack import *
folder = f"/dev/shm/{get('mark')}"
os.mkdir(folder)
made = 0
while made < 20000 and attempt(os.mknod, f"{folder}/{made}", 0o600) is None and os.path.exists(f"{folder}/{made}"):
    made += 1
subprocess.run(["rm", "-rf", folder])
if made == 20000:
    escaped("20000 names in 4M")
