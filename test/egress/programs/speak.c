// Does what its arguments say, one after another, and says at the end how its connection went. What it does to itself stands
// for what it could be brought to do; what it does is what any code in it would.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char self[4096];

static void fail(const char *what) {
  printf("%s: %s\n", what, strerrorname_np(errno));
  exit(1);
}

static int dial(int fd) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
  inet_pton(AF_INET, getenv("TO"), &to.sin_addr);
  return connect(fd, (struct sockaddr *)&to, sizeof to);
}

static void use(int fd) {
  char text[6] = "";
  if (send(fd, "hello", 5, MSG_NOSIGNAL) == 5 && recv(fd, text, 5, MSG_WAITALL) == 5 && strcmp(text, "hello") == 0)
    printf("carried\n");
  else
    printf("reset\n");
}

static void map(int fd, int first, int second, int flags) {
  void *at = mmap(NULL, 4096, first, flags, fd, 0);
  if (at == MAP_FAILED) fail("mmap");
  if (second != first && mprotect(at, 4096, second) != 0) fail("mprotect");
}

static int open_file(const char *path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  return fd;
}

static int code_in_memory(void) {
  int fd = memfd_create("code", 0);
  if (fd < 0 || ftruncate(fd, 4096) != 0) fail("memfd_create");
  return fd;
}

static void steps(char **words);
static int in_step(void *words) {
  steps(words);
  fflush(stdout);
  _exit(0);
}
static void *in_thread(void *words) {
  in_step(words);
  return NULL;
}

static void wait_for(pid_t child) {
  int status;
  if (child < 0) fail("fork");
  waitpid(child, &status, __WALL);
  exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static void reach_another(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  pid_t child = fork();
  if (child == 0) {
    execl(self, self, "wait", NULL);
    _exit(1);
  }
  // Until it is the program that it is to be.
  char path[64];
  close(ends[1]);
  if (read(ends[0], path, 1) != 0) fail("read");
  snprintf(path, sizeof path, "/proc/%d/mem", child);
  printf("mem %s", open(path, O_RDWR) < 0 ? strerrorname_np(errno) : "open");
  printf(" attach %s", ptrace(PTRACE_ATTACH, child, 0, 0) < 0 ? strerrorname_np(errno) : "done");
  printf(" traced %s", ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? strerrorname_np(errno) : "done");
  printf(" seize %s", ptrace(PTRACE_SEIZE, child, 0, 0) < 0 ? strerrorname_np(errno) : "done");
  char byte = 0;
  struct iovec local = {&byte, 1}, remote = {(void *)steps, 1};
  printf(" write %s\n", process_vm_writev(child, &local, 1, &remote, 1, 0) < 0 ? strerrorname_np(errno) : "done");
  kill(child, SIGKILL);
}

static void steps(char **words) {
  static int fd = -1;
  for (; *words != NULL; words++) {
    char *word = *words, *value = strchr(word, ':');
    if (value != NULL) *value++ = 0;
    if (strcmp(word, "map") == 0) map(open_file(value), PROT_READ | PROT_EXEC, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    else if (strcmp(word, "data") == 0) map(open_file(value), PROT_READ, PROT_READ, MAP_PRIVATE);
    else if (strcmp(word, "protect") == 0) map(open_file(value), PROT_READ, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    else if (strcmp(word, "pkey") == 0) {
      void *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, open_file(value), 0);
      if (syscall(SYS_pkey_mprotect, at, 4096, PROT_READ | PROT_EXEC, -1) != 0) fail("pkey_mprotect");
    } else if (strcmp(word, "gone") == 0) {
      int file = open_file(value);
      unlink(value);
      map(file, PROT_READ | PROT_EXEC, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    } else if (strcmp(word, "memfd") == 0)
      map(code_in_memory(), PROT_READ | PROT_EXEC, PROT_READ | PROT_EXEC, MAP_SHARED);
    else if (strcmp(word, "segment") == 0) {
      int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0700);
      void *at = shmat(id, NULL, 0);
      if (at == (void *)-1 || mprotect(at, 4096, PROT_READ | PROT_EXEC) != 0) fail("segment");
    } else if (strcmp(word, "attach") == 0) {
      if (shmat(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0700), NULL, SHM_EXEC) == (void *)-1)
        printf("%s ", strerrorname_np(errno));
    } else if (strcmp(word, "jit") == 0) {
      map(-1, PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS);
      map(-1, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS);
    } else if (strcmp(word, "remap") == 0)
      printf("%s ", syscall(SYS_remap_file_pages, self, 4096, 0, 0, 0) < 0 ? strerrorname_np(errno) : "done");
    else if (strcmp(word, "persona") == 0)
      printf("%s ", syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */) < 0 ? strerrorname_np(errno) : "done");
    else if (strcmp(word, "rewrite") == 0)  // what /proc says of it
      printf("%s ", prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, open_file(value), 0, 0) < 0 ? strerrorname_np(errno) : "done");
    else if (strcmp(word, "load") == 0) {
      if (dlopen(value, RTLD_NOW) == NULL) printf("%s ", dlerror());
    } else if (strcmp(word, "unlink") == 0) {
      if (unlink(value) != 0) fail(value);
    } else if (strcmp(word, "rename") == 0) {
      if (rename(value, "renamed") != 0) fail(value);
    } else if (strcmp(word, "fork") == 0) {
      fflush(stdout);
      pid_t child = fork();
      if (child == 0) in_step(words + 1);
      wait_for(child);
    } else if (strcmp(word, "orphan") == 0) {  // its parent has gone when it goes on
      int ends[2], ignored = pipe(ends);
      fflush(stdout);
      pid_t child = fork();
      if (child == 0) {
        if (fork() != 0) _exit(ignored);
        while (getppid() == getpgrp()) sched_yield();
        in_step(words + 1);
      }
      waitpid(child, NULL, 0);
      close(ends[1]);
      char byte;
      ignored = (int)read(ends[0], &byte, 1);  // until the last holder has ended
      exit(0);
    } else if (strcmp(word, "shared") == 0) {
      char *stack = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      fflush(stdout);
      wait_for(clone(in_step, stack + (1 << 20), CLONE_VM | SIGCHLD, words + 1));
    } else if (strcmp(word, "vfork") == 0) {
      char **rest = words;
      rest[0] = self;
      fflush(stdout);
      pid_t child = vfork();
      if (child == 0) {
        execve(self, rest, environ);
        _exit(1);
      }
      wait_for(child);
    } else if (strcmp(word, "thread") == 0 || strcmp(word, "leaderless") == 0) {
      pthread_t thread;
      pthread_create(&thread, NULL, in_thread, words + 1);
      if (word[0] == 'l') pthread_exit(NULL);
      pthread_join(thread, NULL);
    } else if (strcmp(word, "exec") == 0) {
      char number[16];
      snprintf(number, sizeof number, "%d", fd);
      setenv("SOCKET", number, 1);
      words[0] = value;
      fflush(stdout);
      execve(value, words, environ);
      fail(value);
    } else if (strcmp(word, "memexec") == 0) {
      int file = memfd_create("copy", 0), from = open_file(self);
      char part[65536];
      for (ssize_t got; (got = read(from, part, sizeof part)) > 0;)
        if (write(file, part, (size_t)got) != got) fail("write");
      words[0] = self;
      fexecve(file, words, environ);
      fail("fexecve");
    } else if (strcmp(word, "socket") == 0)
      fd = socket(AF_INET, SOCK_STREAM, 0);
    else if (strcmp(word, "connect") == 0) {
      if (fd < 0) fd = atoi(getenv("SOCKET"));
      if (dial(fd) != 0) fail("connect");
    } else if (strcmp(word, "use") == 0)
      use(fd >= 0 ? fd : atoi(getenv("SOCKET")));
    else if (strcmp(word, "say") == 0) {
      fd = socket(AF_INET, SOCK_STREAM, 0);
      if (dial(fd) != 0) fail("connect");
      use(fd);
    } else if (strcmp(word, "reach") == 0)
      reach_another();
    else if (strcmp(word, "getfd") == 0)
      printf("getfd %s\n", syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 0, 0) < 0 ? strerrorname_np(errno) : "done");
    else if (strcmp(word, "wait") == 0)
      for (;;) pause();
    // Anything else is a script's name.
  }
}

int main(int argc, char **argv) {
  (void)argc;
  if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0) return 1;
  steps(argv + 1);
  return 0;
}
