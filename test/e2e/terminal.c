// A terminal for tests: runs a command on a pseudo terminal of its own, as a terminal emulator would.
//
//   terminal ROWS COLUMNS MASK FILE CMD ARG…
//
// MASK is 1 for standard input, 2 for output, 4 for error: those are on the terminal; the others are /dev/null and FILE.
// Standard input goes to the terminal, standard output has what it shows. Descriptor 3 takes lines: `size ROWS COLUMNS`,
// `settings` (answered by their bytes in hex), `group` (answered by the foreground process group), `stall` and `go on`
// (whether what it shows is read). At the end it says `exit STATUS`, a wait status.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kControl = 3 };

static int master;
static int stalled;

static void fail(const char *what) {
  fprintf(stderr, "terminal: %s: %s\n", what, strerror(errno));
  _exit(70);
}

static void set_size(int rows, int columns) {
  struct winsize size = {(unsigned short)rows, (unsigned short)columns, 0, 0};
  if (ioctl(master, TIOCSWINSZ, &size) != 0) fail("TIOCSWINSZ");
}

static void command(const char *line) {
  int rows, columns;
  if (sscanf(line, "size %d %d", &rows, &columns) == 2) {
    set_size(rows, columns);
    dprintf(kControl, "sized\n");
  } else if (strcmp(line, "settings") == 0) {
    struct termios now;
    if (tcgetattr(master, &now) != 0) fail("tcgetattr");
    dprintf(kControl, "settings %x %x %x %x\n", now.c_iflag, now.c_oflag, now.c_cflag, now.c_lflag);
  } else if (strcmp(line, "group") == 0) {
    dprintf(kControl, "group %d\n", tcgetpgrp(master));
  } else if (strcmp(line, "stall") == 0) {
    stalled = 1;
    dprintf(kControl, "stalled\n");
  } else if (strcmp(line, "go on") == 0) {
    stalled = 0;
  }
}

static pid_t start(int argc, char **argv) {
  int mask = atoi(argv[3]);
  char *name = ptsname(master);
  pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGHUP);
  setsid();
  int slave = open(name, O_RDWR);
  if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) != 0) fail("TIOCSCTTY");
  int null = open("/dev/null", O_RDONLY);
  int file = open(argv[4], O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(mask & 1 ? slave : null, 0);
  dup2(mask & 2 ? slave : file, 1);
  int error = mask & 4 ? slave : file;
  fcntl(2, F_SETFD, FD_CLOEXEC);
  dup2(error, 2);
  close_range(3, ~0u, 0);
  (void)argc;
  execvp(argv[5], argv + 5);
  _exit(127);
}

int main(int argc, char **argv) {
  if (argc < 6) return 64;
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) fail("posix_openpt");
  set_size(atoi(argv[1]), atoi(argv[2]));
  pid_t child = start(argc, argv);
  fcntl(master, F_SETFL, O_NONBLOCK);
  static char pending[1 << 20];
  size_t held = 0;
  char lines[256];
  size_t line_size = 0;
  int input_open = 1, status = 0, ended = 0;
  for (;;) {
    struct pollfd sources[3] = {
        {input_open && held == 0 ? 0 : -1, POLLIN, 0},
        {stalled ? -1 : master, (short)(POLLIN | (held > 0 ? POLLOUT : 0)), 0},
        {kControl, POLLIN, 0},
    };
    poll(sources, 3, 20);
    if (sources[0].revents) {
      ssize_t size = read(0, pending, sizeof pending);
      if (size <= 0) input_open = 0;
      else held = (size_t)size;
    }
    if (held > 0) {
      ssize_t size = write(master, pending, held);
      if (size > 0) {
        held -= (size_t)size;
        memmove(pending, pending + size, held);
      }
    }
    if (sources[2].revents) {
      char byte;
      ssize_t size = read(kControl, &byte, 1);
      if (size == 0) {  // the test is over: hang up
        close(master);
        return 0;
      }
      if (size == 1 && byte != '\n' && line_size < sizeof lines - 1) lines[line_size++] = byte;
      if (size == 1 && byte == '\n') {
        lines[line_size] = 0;
        line_size = 0;
        command(lines);
      }
    }
    if (sources[1].revents & (POLLIN | POLLHUP)) {
      char shown[65536];
      ssize_t size = read(master, shown, sizeof shown);
      if (size > 0) {
        for (ssize_t at = 0; at < size;) {
          ssize_t written = write(1, shown + at, (size_t)(size - at));
          if (written <= 0) break;
          at += written;
        }
        continue;
      }
    }
    if (ended) break;
    if (waitpid(child, &status, WNOHANG) == child) ended = 1;
  }
  dprintf(kControl, "exit %d\n", status);
  return 0;
}
