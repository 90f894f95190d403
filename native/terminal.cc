#include "terminal.h"

#include <asm/termbits.h>  // struct termios2; <termios.h> cannot be included beside it
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace holdfast {

static_assert(sizeof(termios2) == kTerminalSettings, "lib/cli/terminal.ts hands on 44 bytes");

int ReadTerminal(int fd, uint8_t settings[kTerminalSettings]) {
  termios2 now{};
  if (ioctl(fd, TCGETS2, &now) != 0) return errno;
  memcpy(settings, &now, sizeof now);
  return 0;
}

int SetTerminal(int fd, const uint8_t settings[kTerminalSettings], bool raw) {
  termios2 wanted;
  memcpy(&wanted, settings, sizeof wanted);
  if (raw) {
    wanted.c_iflag &=
        ~static_cast<tcflag_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    wanted.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    wanted.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    wanted.c_cflag &= ~static_cast<tcflag_t>(CSIZE | PARENB);
    wanted.c_cflag |= CS8;
    wanted.c_cc[VMIN] = 1;
    wanted.c_cc[VTIME] = 0;
  }
  sigset_t stop;
  sigset_t before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &stop, &before);
  int error = ioctl(fd, TCSETS2, &wanted) == 0 ? 0 : errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

bool InForeground(int fd) {
  pid_t group = 0;
  // ENOTTY: not our controlling terminal.
  return ioctl(fd, TIOCGPGRP, &group) != 0 || group == getpgrp();
}

bool ReadWindowSize(int fd, uint16_t* rows, uint16_t* columns) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) return false;
  *rows = size.ws_row;
  *columns = size.ws_col;
  return true;
}

}  // namespace holdfast
