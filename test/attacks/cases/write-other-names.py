# title: write what is protected by another name of the same file
# kind: write
# git: yes
from attack import *
for name in "alias-of-config", "alias-of-hook":
    attempt(lambda: open(name, "a").write(f"[core]\n\tfsmonitor = touch {get('ran')}; false\n" if "config" in name else f"touch {get('ran')}\n"))
    attempt(os.chmod, name, 0o755)
