// The caller's own terminal: its settings, raw mode, and whether it is this process's turn on it.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace holdfast {

// struct termios2 of the kernel (ioctl_tty(2), TCGETS2): what ExecMessage carries.
constexpr size_t kTerminalSettings = 44;

// 0 or the errno.
int ReadTerminal(int fd, uint8_t settings[kTerminalSettings]);

// Applies settings, with `raw` as cfmakeraw(3) changes them: every byte passes, signals are made by
// nobody. Never stops the process for writing to a terminal whose foreground is another's
// (SIGTTOU). 0 or the errno.
int SetTerminal(int fd, const uint8_t settings[kTerminalSettings], bool raw);

// Whether reading from this terminal is our turn: true too when it is not the one that controls
// this process, which is then never stopped for it.
bool InForeground(int fd);

// False when it is no terminal.
bool ReadWindowSize(int fd, uint16_t* rows, uint16_t* columns);

}  // namespace holdfast
