// The part of a C library that the init uses, and no more. glibc's static start asks CPUID some
// hundred questions, each of which a hypervisor answers by a trap, and that was half of the init's
// start; this start asks none, and the init is a twentieth of its size.
//
// Names and meanings are POSIX's and Linux's (the man pages of section 2 and 3), declared by the
// system's headers; here they are defined under those names by assembler labels, since a second
// declaration would have to repeat every attribute of the first. The init is one thread with no
// signal handlers, so errno is a plain variable; a vfork child shares it while its parent stands.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "raw_syscall.h"

#if !defined(__clang__)
// Else the loop of strlen is taken for a strlen, and becomes a call of itself.
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

extern "C" __attribute__((visibility("hidden"))) long holdfast_page_size;  // start.cc

namespace holdfast {

namespace {

int error_number = 0;

// The kernel's -1 to -4095 are errors (syscall(2)).
long Result(long value) {
  if (value >= 0 || value < -4095) return value;
  error_number = static_cast<int>(-value);
  return -1;
}

template <typename... Arguments>
long Call(long number, Arguments... arguments) {
  return Result(RawSyscall(number, (long)arguments...));
}

template <typename... Arguments>
int IntCall(long number, Arguments... arguments) {
  return static_cast<int>(Call(number, arguments...));
}

constexpr unsigned long kKernelSignals = 8;  // bytes of the kernel's sigset_t

}  // namespace

// ---- memory and text

// The unit tests compile them beside the system's own, under other names.
#ifndef HOLDFAST_LIBC_PREFIX
#define HOLDFAST_LIBC_PREFIX ""
#endif

#define LIBC(type, name, alias, parameters)                            \
  extern "C" type name parameters __asm__(HOLDFAST_LIBC_PREFIX alias); \
  extern "C" type name parameters

LIBC(void*, CopyMemory, "memcpy", (void* to, const void* from, size_t size)) {
#if defined(__x86_64__)
  void* out = to;
  __asm__ volatile("rep movsb" : "+D"(out), "+S"(from), "+c"(size) : : "memory");
#else
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  for (size_t i = 0; i < size; i++) out[i] = in[i];
#endif
  return to;
}

LIBC(void*, MoveMemory, "memmove", (void* to, const void* from, size_t size)) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  if (out <= in || out >= in + size) return CopyMemory(to, from, size);
  while (size-- > 0) out[size] = in[size];
  return to;
}

LIBC(void*, SetMemory, "memset", (void* to, int value, size_t size)) {
#if defined(__x86_64__)
  void* out = to;
  __asm__ volatile("rep stosb" : "+D"(out), "+c"(size) : "a"(value) : "memory");
#else
  auto* out = static_cast<unsigned char*>(to);
  for (size_t i = 0; i < size; i++) out[i] = static_cast<unsigned char>(value);
#endif
  return to;
}

LIBC(int, CompareMemory, "memcmp", (const void* a, const void* b, size_t size)) {
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  for (size_t i = 0; i < size; i++)
    if (left[i] != right[i]) return left[i] - right[i];
  return 0;
}

LIBC(const void*, FindByte, "memchr", (const void* text, int byte, size_t size)) {
  const auto* at = static_cast<const unsigned char*>(text);
  for (size_t i = 0; i < size; i++)
    if (at[i] == static_cast<unsigned char>(byte)) return at + i;
  return nullptr;
}

LIBC(size_t, Length, "strlen", (const char* text)) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

LIBC(size_t, BoundedLength, "strnlen", (const char* text, size_t most)) {
  size_t length = 0;
  while (length < most && text[length] != 0) length++;
  return length;
}

LIBC(int, BoundedCompare, "strncmp", (const char* a, const char* b, size_t most)) {
  for (size_t i = 0; i < most; i++) {
    auto left = static_cast<unsigned char>(a[i]);
    auto right = static_cast<unsigned char>(b[i]);
    if (left != right || left == 0) return left - right;
  }
  return 0;
}

LIBC(int, Compare, "strcmp", (const char* a, const char* b)) {
  return BoundedCompare(a, b, SIZE_MAX);
}

LIBC(const char*, FindOrEnd, "strchrnul", (const char* text, int wanted)) {
  while (*text != 0 && *text != static_cast<char>(wanted)) text++;
  return text;
}

LIBC(const char*, Find, "strchr", (const char* text, int wanted)) {
  const char* found = FindOrEnd(text, wanted);
  return *found == static_cast<char>(wanted) ? found : nullptr;
}

LIBC(const char*, FindLast, "strrchr", (const char* text, int wanted)) {
  const char* found = nullptr;
  for (;; text++) {
    if (*text == static_cast<char>(wanted)) found = text;
    if (*text == 0) return found;
  }
}

LIBC(const char*, FindText, "strstr", (const char* text, const char* wanted)) {
  size_t length = Length(wanted);
  for (; *text != 0; text++)
    if (BoundedCompare(text, wanted, length) == 0) return text;
  return length == 0 ? text : nullptr;
}

// Decimal numbers only: those that the kernel writes.
LIBC(unsigned long long, ParseUnsigned, "strtoull", (const char* text, char** end, int)) {
  unsigned long long value = 0;
  while (*text == ' ' || *text == '\t' || *text == '\n') text++;
  while (*text >= '0' && *text <= '9') value = value * 10 + static_cast<unsigned>(*text++ - '0');
  if (end != nullptr) *end = const_cast<char*>(text);
  return value;
}

namespace {

// What snprintf(3) needs here: %s %d %u %o %x %c and %%, `l`, `ll` and `z`, a width with zeros.
class Formatter {
 public:
  Formatter(char* out, size_t room) : out_(out), room_(room) {}

  void Put(char character) {
    if (length_ + 1 < room_) out_[length_] = character;
    length_++;
  }

  void Number(unsigned long long value, unsigned base, int width) {
    char digits[32];
    int count = 0;
    do {
      digits[count++] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0);
    for (int i = count; i < width; i++) Put('0');
    while (count > 0) Put(digits[--count]);
  }

  int End() {
    if (room_ > 0) out_[length_ < room_ ? length_ : room_ - 1] = 0;
    return static_cast<int>(length_);
  }

 private:
  char* out_;
  size_t room_;
  size_t length_ = 0;
};

}  // namespace

LIBC(int, Format, "snprintf", (char* out, size_t room, const char* format, ...)) {
  Formatter formatter(out, room);
  va_list arguments;
  va_start(arguments, format);
  for (; *format != 0; format++) {
    if (*format != '%') {
      formatter.Put(*format);
      continue;
    }
    int width = 0;
    bool wide = false;
    for (format++; *format >= '0' && *format <= '9'; format++) width = width * 10 + (*format - '0');
    for (; *format == 'l' || *format == 'z'; format++) wide = true;
    switch (*format) {
      case 's':
        for (const char* text = va_arg(arguments, const char*); *text != 0; text++)
          formatter.Put(*text);
        break;
      case 'c':
        formatter.Put(static_cast<char>(va_arg(arguments, int)));
        break;
      case 'd': {
        long long value = wide ? va_arg(arguments, long) : va_arg(arguments, int);
        if (value < 0) formatter.Put('-');
        formatter.Number(value < 0 ? 0 - static_cast<unsigned long long>(value)
                                   : static_cast<unsigned long long>(value),
                         10, width);
        break;
      }
      default: {
        if (*format != 'u' && *format != 'o' && *format != 'x') {
          formatter.Put(*format);  // %%
          break;
        }
        unsigned long long value =
            wide ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
        formatter.Number(value, *format == 'o' ? 8 : *format == 'x' ? 16 : 10, width);
      }
    }
  }
  va_end(arguments);
  return formatter.End();
}

// ---- system calls

LIBC(int*, ErrorLocation, "__errno_location", ()) { return &error_number; }

LIBC(long, Syscall, "syscall", (long number, ...)) {
  va_list rest;
  va_start(rest, number);
  long a[6];
  for (long& argument : a) argument = va_arg(rest, long);
  va_end(rest);
  return Result(RawSyscall(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

LIBC(int, Prctl, "prctl", (int option, ...)) {
  va_list rest;
  va_start(rest, option);
  long a[4];
  for (long& argument : a) argument = va_arg(rest, long);
  va_end(rest);
  return IntCall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

LIBC(int, OpenAt, "openat", (int folder, const char* path, int flags, ...)) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);  // whatever lies there, where no file is made
  va_end(rest);
  return IntCall(SYS_openat, folder, path, flags, flags & O_CREAT ? mode : 0);
}

LIBC(int, Open, "open", (const char* path, int flags, ...)) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return OpenAt(AT_FDCWD, path, flags, mode);
}

LIBC(int, Fcntl, "fcntl", (int fd, int command, ...)) {
  va_list rest;
  va_start(rest, command);
  long argument = va_arg(rest, long);
  va_end(rest);
  return IntCall(SYS_fcntl, fd, command, argument);
}

LIBC(int, Ioctl, "ioctl", (int fd, unsigned long request, ...)) {
  va_list rest;
  va_start(rest, request);
  long argument = va_arg(rest, long);
  va_end(rest);
  return IntCall(SYS_ioctl, fd, request, argument);
}

// What the large-file interface calls them: offsets have 64 bits here in any case.
LIBC(int, OpenAt64, "openat64", (int folder, const char* path, int flags, int mode)) {
  return OpenAt(folder, path, flags, mode);
}
LIBC(int, Open64, "open64", (const char* path, int flags, int mode)) {
  return OpenAt(AT_FDCWD, path, flags, mode);
}
LIBC(int, Fcntl64, "fcntl64", (int fd, int command, long argument)) {
  return Fcntl(fd, command, argument);
}

LIBC(ssize_t, Read, "read", (int fd, void* data, size_t size)) {
  return Call(SYS_read, fd, data, size);
}
LIBC(ssize_t, Write, "write", (int fd, const void* data, size_t size)) {
  return Call(SYS_write, fd, data, size);
}
LIBC(ssize_t, ReadAt, "pread64", (int fd, void* data, size_t size, off_t offset)) {
  return Call(SYS_pread64, fd, data, size, offset);
}
LIBC(ssize_t, ReadAt32, "pread", (int fd, void* data, size_t size, off_t offset)) {
  return Call(SYS_pread64, fd, data, size, offset);
}
LIBC(ssize_t, WriteAt, "pwrite64", (int fd, const void* data, size_t size, off_t offset)) {
  return Call(SYS_pwrite64, fd, data, size, offset);
}
LIBC(ssize_t, WriteAt32, "pwrite", (int fd, const void* data, size_t size, off_t offset)) {
  return WriteAt(fd, data, size, offset);
}
LIBC(int, Close, "close", (int fd)) { return IntCall(SYS_close, fd); }
LIBC(int, Duplicate, "dup2", (int from, int to)) {
  // dup3(2), which arm64 has alone, refuses equal numbers.
  return from == to ? (Fcntl(from, F_GETFD) < 0 ? -1 : to) : IntCall(SYS_dup3, from, to, 0);
}
LIBC(int, Pipe, "pipe2", (int* fds, int flags)) { return IntCall(SYS_pipe2, fds, flags); }
LIBC(int, Sync, "fsync", (int fd)) { return IntCall(SYS_fsync, fd); }
LIBC(void*, Map, "mmap", (void* at, size_t size, int access, int flags, int fd, off_t offset)) {
  return reinterpret_cast<void*>(Call(SYS_mmap, at, size, access, flags, fd, offset));
}
LIBC(void*, Map64, "mmap64", (void* at, size_t size, int access, int flags, int fd, off_t offset)) {
  return Map(at, size, access, flags, fd, offset);
}
LIBC(int, Unmap, "munmap", (void* at, size_t size)) { return IntCall(SYS_munmap, at, size); }

LIBC(int, StatAt, "fstatat", (int folder, const char* path, struct stat* out, int flags)) {
  return IntCall(SYS_newfstatat, folder, path, out, flags);
}
LIBC(int, StatAt64, "fstatat64", (int folder, const char* path, struct stat* out, int flags)) {
  return StatAt(folder, path, out, flags);
}
LIBC(int, Stat, "stat", (const char* path, struct stat* out)) {
  return StatAt(AT_FDCWD, path, out, 0);
}
LIBC(int, Stat64, "stat64", (const char* path, struct stat* out)) { return Stat(path, out); }
LIBC(int, StatLink, "lstat", (const char* path, struct stat* out)) {
  return StatAt(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
LIBC(int, StatLink64, "lstat64", (const char* path, struct stat* out)) {
  return StatLink(path, out);
}
LIBC(int, StatOpen, "fstat", (int fd, struct stat* out)) { return IntCall(SYS_fstat, fd, out); }
LIBC(int, StatOpen64, "fstat64", (int fd, struct stat* out)) { return StatOpen(fd, out); }
LIBC(int, StatFs, "statfs", (const char* path, struct statfs* out)) {
  return IntCall(SYS_statfs, path, out);
}
LIBC(int, StatFs64, "statfs64", (const char* path, struct statfs* out)) {
  return StatFs(path, out);
}
LIBC(int, Access, "access", (const char* path, int mode)) {
  return IntCall(SYS_faccessat, AT_FDCWD, path, mode);
}
LIBC(ssize_t, ReadLinkAt, "readlinkat", (int folder, const char* path, char* out, size_t room)) {
  return Call(SYS_readlinkat, folder, path, out, room);
}
LIBC(int, MakeFolderAt, "mkdirat", (int folder, const char* path, mode_t mode)) {
  return IntCall(SYS_mkdirat, folder, path, mode);
}
LIBC(int, MakeFolder, "mkdir", (const char* path, mode_t mode)) {
  return MakeFolderAt(AT_FDCWD, path, mode);
}
LIBC(int, MakeNode, "mknod", (const char* path, mode_t mode, dev_t device)) {
  return IntCall(SYS_mknodat, AT_FDCWD, path, mode, device);
}
LIBC(int, MakeLink, "symlink", (const char* target, const char* path)) {
  return IntCall(SYS_symlinkat, target, AT_FDCWD, path);
}
LIBC(int, RemoveAt, "unlinkat", (int folder, const char* path, int flags)) {
  return IntCall(SYS_unlinkat, folder, path, flags);
}
LIBC(int, Remove, "unlink", (const char* path)) { return RemoveAt(AT_FDCWD, path, 0); }
LIBC(int, RemoveFolder, "rmdir", (const char* path)) {
  return RemoveAt(AT_FDCWD, path, AT_REMOVEDIR);
}
LIBC(int, RenameAt, "renameat", (int from, const char* name, int to, const char* other)) {
  return IntCall(SYS_renameat, from, name, to, other);
}
LIBC(int, ChangeMode, "fchmod", (int fd, mode_t mode)) { return IntCall(SYS_fchmod, fd, mode); }
LIBC(int, ChangeModeAt, "fchmodat", (int folder, const char* path, mode_t mode, int)) {
  return IntCall(SYS_fchmodat, folder, path, mode);
}
LIBC(mode_t, Umask, "umask", (mode_t mode)) { return static_cast<mode_t>(Call(SYS_umask, mode)); }
LIBC(int, ChangeFolder, "chdir", (const char* path)) { return IntCall(SYS_chdir, path); }
LIBC(int, ChangeFolderTo, "fchdir", (int fd)) { return IntCall(SYS_fchdir, fd); }

LIBC(int, Mount, "mount",
     (const char* source, const char* target, const char* type, unsigned long flags,
      const void* data)) {
  return IntCall(SYS_mount, source, target, type, flags, data);
}
LIBC(int, Unmount, "umount2", (const char* target, int flags)) {
  return IntCall(SYS_umount2, target, flags);
}
LIBC(int, SetHostName, "sethostname", (const char* name, size_t size)) {
  return IntCall(SYS_sethostname, name, size);
}
LIBC(int, JoinNamespace, "setns", (int fd, int type)) { return IntCall(SYS_setns, fd, type); }
LIBC(ssize_t, GetRandom, "getrandom", (void* out, size_t size, unsigned flags)) {
  return Call(SYS_getrandom, out, size, flags);
}

LIBC(int, Socket, "socket", (int domain, int type, int protocol)) {
  return IntCall(SYS_socket, domain, type, protocol);
}
LIBC(int, Bind, "bind", (int fd, const sockaddr* address, socklen_t size)) {
  return IntCall(SYS_bind, fd, address, size);
}
LIBC(int, SetSocketOption, "setsockopt",
     (int fd, int level, int name, const void* value, socklen_t size)) {
  return IntCall(SYS_setsockopt, fd, level, name, value, size);
}
LIBC(int, GetSocketName, "getsockname", (int fd, sockaddr* address, socklen_t* size)) {
  return IntCall(SYS_getsockname, fd, address, size);
}
LIBC(int, Listen, "listen", (int fd, int backlog)) { return IntCall(SYS_listen, fd, backlog); }
LIBC(int, Connect, "connect", (int fd, const sockaddr* address, socklen_t size)) {
  return IntCall(SYS_connect, fd, address, size);
}
LIBC(ssize_t, Send, "send", (int fd, const void* data, size_t size, int flags)) {
  return Call(SYS_sendto, fd, data, size, flags, 0, 0);
}
LIBC(ssize_t, SendMessage, "sendmsg", (int fd, const msghdr* message, int flags)) {
  return Call(SYS_sendmsg, fd, message, flags);
}
LIBC(ssize_t, ReceiveMessage, "recvmsg", (int fd, msghdr* message, int flags)) {
  return Call(SYS_recvmsg, fd, message, flags);
}

LIBC(int, Kill, "kill", (pid_t pid, int signal)) { return IntCall(SYS_kill, pid, signal); }
LIBC(pid_t, GetPid, "getpid", ()) { return IntCall(SYS_getpid); }
LIBC(pid_t, MakeSession, "setsid", ()) { return IntCall(SYS_setsid); }
LIBC(int, SetGroup, "setpgid", (pid_t pid, pid_t group)) {
  return IntCall(SYS_setpgid, pid, group);
}
LIBC(int, SetPriority, "setpriority", (int which, id_t who, int priority)) {
  return IntCall(SYS_setpriority, which, who, priority);
}
LIBC(int, GetLimit, "getrlimit64", (int resource, struct rlimit64* out)) {
  return IntCall(SYS_prlimit64, 0, resource, 0, out);
}
LIBC(int, GetLimit32, "getrlimit", (int resource, struct rlimit64* out)) {
  return GetLimit(resource, out);
}
LIBC(int, SetLimit, "setrlimit64", (int resource, const struct rlimit64* limit)) {
  return IntCall(SYS_prlimit64, 0, resource, limit, 0);
}
LIBC(int, SetLimit32, "setrlimit", (int resource, const struct rlimit64* limit)) {
  return SetLimit(resource, limit);
}
LIBC(int, Execute, "execve", (const char* path, char* const* argv, char* const* envp)) {
  return IntCall(SYS_execve, path, argv, envp);
}
LIBC(pid_t, Fork, "fork", ()) { return IntCall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
LIBC(int, Clone, "clone", (int (*run)(void*), void* stack_end, int flags, void* argument, ...)) {
  return static_cast<int>(Result(RawClone(flags, stack_end, nullptr, run, argument)));
}
LIBC(pid_t, Wait4, "wait4", (pid_t pid, int* status, int options, struct rusage* usage)) {
  return IntCall(SYS_wait4, pid, status, options, usage);
}
LIBC(int, WaitId, "waitid", (int type, id_t id, siginfo_t* out, int options)) {
  return IntCall(SYS_waitid, type, id, out, options, 0);
}
LIBC(pid_t, WaitPid, "waitpid", (pid_t pid, int* status, int options)) {
  return Wait4(pid, status, options, nullptr);
}

extern "C" [[noreturn]] void Exit(int status) __asm__(HOLDFAST_LIBC_PREFIX "_exit");
extern "C" [[noreturn]] void Exit(int status) {
  for (;;) RawSyscall(SYS_exit_group, status);
}

LIBC(int, EmptySet, "sigemptyset", (uint64_t * set)) {
  *set = 0;
  return 0;
}
LIBC(int, FillSet, "sigfillset", (uint64_t * set)) {
  *set = ~0ul;
  return 0;
}
LIBC(int, AddToSet, "sigaddset", (uint64_t * set, int signal)) {
  *set |= 1ul << (signal - 1);
  return 0;
}
LIBC(int, Mask, "sigprocmask", (int how, const uint64_t* set, uint64_t* old)) {
  return IntCall(SYS_rt_sigprocmask, how, set, old, kKernelSignals);
}
LIBC(int, SignalFd, "signalfd", (int fd, const uint64_t* set, int flags)) {
  return IntCall(SYS_signalfd4, fd, set, kKernelSignals, flags);
}
// SIG_DFL and SIG_IGN only: a handler would need a trampoline to return by (sigaction(2)).
LIBC(long, SetSignal, "signal", (int signal, long action)) {
  long settings[4] = {action, 0, 0, 0};
  return Call(SYS_rt_sigaction, signal, settings, 0, kKernelSignals);
}

LIBC(int, Poll, "poll", (pollfd * fds, nfds_t count, int timeout_ms)) {
  timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
  return IntCall(SYS_ppoll, fds, count, timeout_ms < 0 ? nullptr : &timeout, 0, kKernelSignals);
}
LIBC(long, SystemValue, "sysconf", (int name)) {
  return name == _SC_PAGESIZE ? holdfast_page_size : -1;
}

LIBC(int, Clock, "clock_gettime", (clockid_t clock, timespec* now)) {
  return IntCall(SYS_clock_gettime, clock, now);
}
LIBC(int, Sleep, "usleep", (unsigned microseconds)) {
  timespec time{microseconds / 1000000, microseconds % 1000000 * 1000L};
  return IntCall(SYS_nanosleep, &time, 0);
}

}  // namespace holdfast
