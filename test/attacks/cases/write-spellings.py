# title: write what is protected by other spellings of its path
# kind: write
# git: yes
from attack import *
evil = f"[core]\n\tfsmonitor = touch {get('ran')}; false\n"
hook = f"#!/bin/sh\ntouch {get('ran')}\n"
attempt(os.symlink, ".git", "way")
attempt(os.symlink, ".git/hooks", "hooks-way")
folder = attempt(os.open, ".git", os.O_RDONLY | os.O_DIRECTORY)
paths = [".git/config", "./.git/./config", ".git//config", ".git/hooks/../config", "way/config", "hooks-way/../config", "/proc/self/cwd/.git/config", f"/proc/self/fd/{folder}/config", os.getcwd() + "/.git/config", "sub/../.git/config"]
def done():
    if b"ran-" in read(".git/config") + read(".git/hooks/pre-commit"):
        sys.exit()
for path in paths:
    attempt(lambda: open(path, "a").write(evil))
    done()
    attempt(lambda: open(path + "/", "a").write(evil))
    attempt(os.truncate, path, 0)
    attempt(os.replace, "work-file", path)
for path in ".git/hooks/pre-commit", "hooks-way/pre-commit", "way/hooks/pre-commit", ".git/hooks/./pre-commit", f"/proc/self/fd/{folder}/hooks/pre-commit":
    attempt(lambda: open(path, "w").write(hook))
    attempt(os.chmod, path, 0o755)
    done()
for path in ".git/hooks", ".git/config", ".git", ".vscode", "sub/.git", "sub":
    attempt(os.rename, path, "elsewhere")
    attempt(os.rmdir, path)
    attempt(os.unlink, path)
    attempt(os.makedirs, ".git/hooks")
    attempt(lambda: open(".git/hooks/pre-commit", "w").write(hook))
    done()
