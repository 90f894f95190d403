# title: make or change something outside every grant
# kind: write
from attack import *
folder = os.path.dirname(get("secret"))
top = os.path.dirname(folder)
for place in folder, top, "..", "../../" + os.path.basename(top), "/proc/self/cwd/..", "/proc/self/root" + folder:
    attempt(lambda: open(f"{place}/planted", "w").write("planted"))
    attempt(os.mkdir, f"{place}/planted-folder")
    attempt(os.rename, "work-file", f"{place}/moved")
    attempt(os.link, "work-file", f"{place}/linked")
    attempt(os.symlink, "/", f"{place}/link")
    fd = attempt(os.open, ".", os.O_TMPFILE | os.O_RDWR, 0o600)
    if fd is not None:
        call("linkat", -100, text(f"/proc/self/fd/{fd}"), -100, text(f"{place}/temporary"), 0x400)
        call("linkat", fd, text(""), -100, text(f"{place}/temporary2"), 0x1000)
