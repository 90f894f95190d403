// Connects, forks, executes and ends in every order that a seed makes of it, and says by the port that it connects to what it
// is: its own code knows. Two programs are made of it, which execute one another; one of them is granted.
//
//   storm drive SEED AT_ONCE   starts storms until standard input ends
//   storm act SEED DEPTH SOCKET   one of them
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// Is there where the code of another was loaded into this program.
extern int foreign __attribute__((weak));

enum { PLAIN, STEERED, OTHER, OTHER_STEERED, KINDS };
#ifndef OTHER_PROGRAM
#define OTHER_PROGRAM 0
#endif
static int kind(void) { return (OTHER_PROGRAM ? OTHER : PLAIN) + (&foreign != NULL); }

// Shared by all, on a file: it outlives every exec.
static struct {
  _Atomic uint64_t tried[KINDS], made[KINDS], failed[KINDS], last_error;
} *counts;

static const char *programs[2];
static struct sockaddr_in to;

static uint64_t next(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

static void spin(uint64_t *seed) {
  for (volatile uint64_t left = next(seed) % 40000; left > 0; left--);
}

static int dial_with(int fd) {
  int me = kind();
  to.sin_port = htons((uint16_t)(7 + me));
  counts->tried[me]++;
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS) {
    counts->made[me]++;
    return fd;
  }
  counts->last_error = (uint64_t)errno;
  counts->failed[me]++;
  return fd;
}

static int dial(int flags) { return dial_with(socket(AF_INET, SOCK_STREAM | flags, 0)); }

// Says the same on the wire, where there is one.
static void say(int fd) {
  char word = "PXXX"[kind()], heard = 0;
  if (send(fd, &word, 1, MSG_NOSIGNAL) == 1) recv(fd, &heard, 1, 0);
  close(fd);
}

static void *dial_on(void *unused) {
  for (int i = 0; i < 3; i++) close(dial(0));
  return unused;
}

static int dial_and_end(void *unused) {
  dial(SOCK_CLOEXEC);
  (void)unused;
  _exit(0);
}

static void ignore(int signal) { (void)signal; }

static _Noreturn void become(uint64_t seed, int depth, int fd) {
  char words[3][24];
  snprintf(words[0], sizeof words[0], "%llu", (unsigned long long)next(&seed) | 1);
  snprintf(words[1], sizeof words[1], "%d", depth - 1);
  snprintf(words[2], sizeof words[2], "%d", fd);
  const char *path = programs[next(&seed) & 1];
  char *argv[] = {(char *)path, "act", words[0], words[1], words[2], NULL};
  if (next(&seed) % 4 == 0) setenv("LD_PRELOAD", getenv("FOREIGN"), 1);
  else unsetenv("LD_PRELOAD");
  execve(path, argv, environ);
  _exit(3);
}

struct executing {
  uint64_t seed;
  int depth;
};
static void *become_in_thread(void *given) {
  struct executing *it = given;
  spin(&it->seed);
  become(it->seed, it->depth, -1);
  return NULL;
}

static void act(uint64_t seed, int depth) {
  uint64_t way = next(&seed) % 12;
  if (depth == 0) way %= 4;
  pid_t child;
  pthread_t threads[3];
  char *stack;
  switch (way) {
    case 0:
      return say(dial(0));
    case 1:  // and ends
      dial(0);
      return;
    case 2: {
      int fd = dial(SOCK_NONBLOCK);
      struct pollfd ready = {fd, POLLOUT, 0};
      poll(&ready, 1, 5000);
      fcntl(fd, F_SETFL, 0);
      return say(fd);
    }
    case 3: {  // interrupted
      struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
      sigaction(SIGALRM, &action, NULL);
      struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
      setitimer(ITIMER_REAL, &often, NULL);
      int fd = dial(0);
      setitimer(ITIMER_REAL, &never, NULL);
      return say(fd);
    }
    case 4:  // and executes
      close(dial(0));
      become(seed, depth, -1);
    case 5:  // the socket was another's
      become(seed, depth, socket(AF_INET, SOCK_STREAM, 0));
    case 6:
    case 7: {  // a thread executes while others connect; or the first one does
      for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, dial_on, NULL);
      if (way == 6) {
        spin(&seed);
        become(seed, depth, -1);
      }
      struct executing it = {seed, depth};
      pthread_create(&threads[2], NULL, become_in_thread, &it);
      dial_on(NULL);
      for (;;) pause();
    }
    case 8:  // what shares its memory connects while it executes
      stack = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
      clone(dial_and_end, stack + (1 << 16), CLONE_VM | SIGCHLD, NULL);
      spin(&seed);
      become(seed, depth, -1);
    case 9:
      child = vfork();
      if (child == 0) become(seed, depth, -1);
      return say(dial(0));
    case 10:  // is killed as it connects; its number is free again
      child = fork();
      if (child == 0)
        for (;;) close(dial(0));
      spin(&seed);
      if (child > 0) kill(child, SIGKILL);
      if (child > 0) waitpid(child, NULL, 0);
      if (fork() == 0) become(seed, depth, -1);
      return say(dial(0));
    case 11:  // an orphan
      if (fork() == 0) {
        if (fork() == 0) act(next(&seed) | 1, depth - 1);
        _exit(0);
      }
      close(dial(0));
      become(seed, depth, -1);
  }
}

static void drive(uint64_t seed, int at_once) {
  struct pollfd end = {0, POLLIN, 0};
  // Orphans are waited for too, in the end.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t running[64] = {0};
  int count = 0;
  while (poll(&end, 1, 0) == 0) {
    pid_t ended;
    while (count > 0 && (ended = waitpid(-1, NULL, count < at_once ? WNOHANG : 0)) > 0)
      for (int i = 0; i < at_once; i++)
        if (running[i] == ended) running[i] = 0, count--;
    pid_t child = fork();
    if (child == 0) become(next(&seed) | 1, 4, -1);
    next(&seed);
    if (child < 0) continue;
    count++;
    for (int i = 0; i < at_once; i++)
      if (running[i] == 0) {
        running[i] = child;
        break;
      }
  }
  while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  programs[0] = getenv("GRANTED");
  programs[1] = getenv("OTHER");
  to.sin_family = AF_INET;
  inet_pton(AF_INET, getenv("TO"), &to.sin_addr);
  int file = open(getenv("COUNTS"), O_RDWR | O_CLOEXEC);
  counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (counts == MAP_FAILED) return 2;
  close(file);
  uint64_t seed = strtoull(argv[2], NULL, 10) | 1;
  if (strcmp(argv[1], "drive") == 0) {
    drive(seed, atoi(argv[3]));
  } else {
    int given = argc > 4 ? atoi(argv[4]) : -1;
    if (given >= 0) say(dial_with(given));
    act(seed, atoi(argv[3]));
  }
  return 0;
}
