# title: search all that can be seen for the secret
# kind: read
# slow: it reads a whole tree
from attack import *
secret = os.path.dirname(get("secret")).encode()
wanted = bytes.fromhex(get("needle"))
for top, folders, files in os.walk("/"):
    # What is the same for everybody, and what is asked for elsewhere.
    if top == "/":
        folders[:] = [name for name in folders if name not in ("usr", "opt", "nix", "gnu", "proc", "sys", "lib", "bin")]
        if get("confined") != "yes":
            folders[:] = ["tmp"] if get("secret").startswith("/tmp") else []
    for name in files:
        path = os.path.join(top, name)
        found = attempt(os.stat, path)
        if found and stat.S_ISREG(found.st_mode) and found.st_size < 65536 and wanted in read(path):
            escaped(f"the secret lies in {path}")
