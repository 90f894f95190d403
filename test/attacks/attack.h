// What every case in C includes: parameters (`key=value`), the verdict.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char** arguments;

static const char* get(const char* key) {
  size_t length = strlen(key);
  for (char** at = arguments; *at != NULL; at++)
    if (strncmp(*at, key, length) == 0 && (*at)[length] == '=') return *at + length + 1;
  printf("no parameter %s\n", key);
  exit(1);
}

// The outside sees most of what gets through; what only the program can see it says.
__attribute__((noreturn)) static void escaped(const char* what) {
  printf("ESCAPED %s\n", what);
  exit(0);
}

static void attack(void);

int main(int argc, char** argv) {
  (void)argc;
  arguments = argv + 1;
  alarm(60);
  attack();
  return 0;
}
