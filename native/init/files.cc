#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../fdpass.h"
#include "../kernel.h"

namespace holdfast {

namespace {

constexpr int kMaxLinks = 40;  // as the kernel's own limit (path_resolution(7))
constexpr int kMaxRoots = 32;

struct Request {
  const char* path;
  const char* roots[kMaxRoots];
  uint32_t root_count;
  const char* read_only[kMaxRoots];
  uint32_t read_only_count;
};

[[noreturn]] void Answer(const FileMessage& message, FileStatus status, int error, const char* path,
                         int fd, const struct stat* file, uint32_t root_index) {
  FileResultMessage result{};
  result.type = MessageType::kFileResult;
  result.id = message.id;
  result.status = status;
  result.error = error;
  result.root_index = root_index;
  if (file != nullptr) {
    result.size = static_cast<uint64_t>(file->st_size);
    result.mode = file->st_mode;
    result.mtime_ns = static_cast<uint64_t>(file->st_mtim.tv_sec) * 1000000000u +
                      static_cast<uint64_t>(file->st_mtim.tv_nsec);
  }
  snprintf(result.path, sizeof result.path, "%s", path);
  SendPacket(kControlFd, &result, sizeof result, &fd, fd >= 0 ? 1 : 0, 0);
  _exit(0);
}

bool Read(const FileMessage& message, const char* strings, size_t size, Request* request) {
  const char* at = strings;
  const char* end = strings + size;
  auto next = [&]() -> const char* {
    if (at >= end) return nullptr;
    const void* nul = memchr(at, 0, static_cast<size_t>(end - at));
    const char* found = at;
    if (nul == nullptr) return nullptr;
    at = static_cast<const char*>(nul) + 1;
    return found;
  };
  if (message.root_count == 0 || message.root_count > kMaxRoots ||
      message.read_only_count > kMaxRoots)
    return false;
  request->path = next();
  request->root_count = message.root_count;
  request->read_only_count = message.read_only_count;
  for (uint32_t i = 0; i < message.root_count; i++) request->roots[i] = next();
  for (uint32_t i = 0; i < message.read_only_count; i++) request->read_only[i] = next();
  for (uint32_t i = 0; i < message.root_count; i++)
    if (request->roots[i] == nullptr) return false;
  for (uint32_t i = 0; i < message.read_only_count; i++)
    if (request->read_only[i] == nullptr) return false;
  return request->path != nullptr;
}

bool Beneath(const char* path, const char* root) {
  size_t length = strlen(root);
  if (length == 1 && root[0] == '/') return true;
  return strncmp(path, root, length) == 0 && (path[length] == 0 || path[length] == '/');
}

bool BeneathAny(const char* path, const Request& request) {
  for (uint32_t i = 0; i < request.root_count; i++)
    if (Beneath(path, request.roots[i])) return true;
  return false;
}

// Collapses `//`, `.` and `..` in the text, before any link is followed (protocol.md 17.1).
bool Collapse(const char* base, const char* path, char* out, size_t room) {
  char joined[2 * PATH_MAX];
  int length = path[0] == '/' ? snprintf(joined, sizeof joined, "%s", path)
                              : snprintf(joined, sizeof joined, "%s/%s", base, path);
  if (length < 0 || static_cast<size_t>(length) >= sizeof joined) return false;
  size_t used = 0;
  for (const char* at = joined; *at != 0;) {
    while (*at == '/') at++;
    const char* end = strchrnul(at, '/');
    auto size = static_cast<size_t>(end - at);
    if (size == 2 && at[0] == '.' && at[1] == '.') {
      while (used > 0 && out[--used] != '/') {
      }
    } else if (size > 0 && !(size == 1 && at[0] == '.')) {
      if (used + size + 2 > room) return false;
      out[used++] = '/';
      memcpy(out + used, at, size);
      used += size;
    }
    at = end;
  }
  if (used == 0) out[used++] = '/';
  out[used] = 0;
  return true;
}

struct Resolved {
  char path[PATH_MAX] = "";  // with every link followed; what does not exist is kept as text
  int fd = -1;               // O_PATH of the object, when it exists
  int parent_fd = -1;        // O_PATH of the last folder that exists
  const char* missing =
      nullptr;  // into path: the components that do not exist, without the leading slash
  int error = 0;
};

// Follows `path` (absolute, collapsed) as the SDK's realpath does, missing tails included. With
// kFileNoLinks a link below a root is an error: who asked for the path did not make it.
void Resolve(const char* path, const FileMessage& message, const Request& request, Resolved* out) {
  char todo[PATH_MAX];
  snprintf(todo, sizeof todo, "%s", path);
  int links = 0;
restart:
  out->path[0] = 0;
  size_t used = 0;
  int folder = open("/", O_PATH | O_CLOEXEC | O_DIRECTORY);
  const char* at = todo;
  while (*at == '/') at++;
  while (*at != 0) {
    const char* end = strchrnul(at, '/');
    auto size = static_cast<size_t>(end - at);
    char name[NAME_MAX + 2];
    if (size > NAME_MAX) {
      out->error = ENAMETOOLONG;
      return;
    }
    memcpy(name, at, size);
    name[size] = 0;
    const char* rest = end;
    while (*rest == '/') rest++;
    int fd = openat(folder, name, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
      if (errno != ENOENT) {
        out->error = errno;
        return;
      }
      out->parent_fd = folder;
      if (used + strlen(at) + 2 > sizeof out->path) {
        out->error = ENAMETOOLONG;
        return;
      }
      out->path[used] = '/';
      memcpy(out->path + used + 1, at, strlen(at) + 1);
      out->missing = out->path + used + 1;
      return;
    }
    struct stat status;
    if (fstat(fd, &status) != 0) {
      out->error = errno;
      return;
    }
    if (S_ISLNK(status.st_mode)) {
      out->path[used] = 0;
      bool refused = (message.flags & kFileNoLinks) != 0 && BeneathAny(out->path, request);
      if (refused || ++links > kMaxLinks) {
        out->error = ELOOP;
        return;
      }
      char target[PATH_MAX];
      ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
      if (length < 0) {
        out->error = errno;
        return;
      }
      target[length] = 0;
      char base[PATH_MAX];
      snprintf(base, sizeof base, "%s", used == 0 ? "/" : out->path);
      char joined[2 * PATH_MAX];
      snprintf(joined, sizeof joined, "%s%s%s", target, *rest != 0 ? "/" : "", rest);
      char whole[PATH_MAX];
      if (!Collapse(base, joined, whole, sizeof whole)) {
        out->error = ENAMETOOLONG;
        return;
      }
      close(fd);
      close(folder);
      memcpy(todo, whole, sizeof whole);
      goto restart;
    }
    if (used + size + 2 > sizeof out->path) {
      out->error = ENAMETOOLONG;
      return;
    }
    out->path[used++] = '/';
    memcpy(out->path + used, name, size);
    used += size;
    out->path[used] = 0;
    if (*rest == 0) {
      out->fd = fd;
      out->parent_fd = folder;
      return;
    }
    if (!S_ISDIR(status.st_mode)) {
      out->error = ENOTDIR;
      return;
    }
    close(folder);
    folder = fd;
    at = rest;
  }
  out->path[0] = '/';
  out->path[1] = 0;
  out->fd = folder;
}

void Confine(const Setup& setup, const FileMessage& message) {
  const Layer* layer = setup.layer(message.layer);
  if (layer == nullptr || layer->ruleset_fd < 0 ||
      syscall(kSysLandlockRestrictSelf, layer->ruleset_fd, 0) != 0)
    Answer(message, FileStatus::kError, EPERM, "", -1, nullptr, 0);
}

void Find(const FileMessage& message, const char* strings, size_t size, Request* request,
          Resolved* resolved) {
  if (!Read(message, strings, size, request))
    Answer(message, FileStatus::kError, EPROTO, "", -1, nullptr, 0);
  char collapsed[PATH_MAX];
  if (!Collapse(request->roots[0], request->path, collapsed, sizeof collapsed))
    Answer(message, FileStatus::kResolveError, ENAMETOOLONG, "", -1, nullptr, 0);
  Resolve(collapsed, message, *request, resolved);
  if (resolved->error != 0) {
    // Under a file is the file system's own complaint; a loop, a name too long, a shut folder is
    // the path's.
    bool inside = BeneathAny(collapsed, *request);
    if (!inside) Answer(message, FileStatus::kOutside, 0, "", -1, nullptr, 0);
    bool on_file = resolved->error == ENOTDIR;
    Answer(message, on_file ? FileStatus::kError : FileStatus::kResolveError, resolved->error, "",
           -1, nullptr, 0);
  }
  if (!BeneathAny(resolved->path, *request))
    Answer(message, FileStatus::kOutside, 0, "", -1, nullptr, 0);
}

// Reopens an O_PATH descriptor for use. /proc/self/fd is the sandbox's own proc; Landlock judges
// the file behind it.
int Reopen(int fd, int flags) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, flags | O_CLOEXEC);
}

// As on every call's processes. The signal that the kernel sends with it is blocked here, as all
// are, so that the write fails with EFBIG (setrlimit(2)).
void LimitFileSize(const Setup& setup) {
  for (int i = 0; i < setup.rlimit_count(); i++) {
    const ChildRlimit& limit = setup.rlimits()[i];
    if (limit.resource == RLIMIT_FSIZE)
      syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, &limit.value, nullptr);
  }
}

bool WriteAll(int from, int to) {
  char buffer[65536];
  for (;;) {
    ssize_t got = read(from, buffer, sizeof buffer);
    if (got == 0) return true;
    if (got < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    for (ssize_t done = 0; done < got;) {
      ssize_t put = write(to, buffer + done, static_cast<size_t>(got - done));
      if (put < 0 && errno != EINTR) return false;
      if (put > 0) done += put;
    }
  }
}

}  // namespace

void OpenFile(const Setup& setup, const FileMessage& message, const char* strings, size_t size) {
  Confine(setup, message);
  Request request{};
  Resolved resolved;
  Find(message, strings, size, &request, &resolved);
  if (resolved.fd < 0) Answer(message, FileStatus::kError, ENOENT, resolved.path, -1, nullptr, 0);
  struct stat status;
  if (fstat(resolved.fd, &status) != 0)
    Answer(message, FileStatus::kError, errno, resolved.path, -1, nullptr, 0);
  if (S_ISDIR(status.st_mode))
    Answer(message, FileStatus::kDirectory, 0, resolved.path, -1, nullptr, 0);
  if (!S_ISREG(status.st_mode))
    Answer(message, FileStatus::kOther, 0, resolved.path, -1, nullptr, 0);
  int fd = Reopen(resolved.fd, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) Answer(message, FileStatus::kError, errno, resolved.path, -1, nullptr, 0);
  Answer(message, FileStatus::kOk, 0, resolved.path, fd, &status, 0);
}

void WriteFile(const Setup& setup, const FileMessage& message, const char* strings, size_t size,
               int content_fd) {
  Confine(setup, message);
  LimitFileSize(setup);
  umask(0);
  Request request{};
  Resolved resolved;
  Find(message, strings, size, &request, &resolved);
  const char* path = resolved.path;
  for (uint32_t i = 0; i < request.read_only_count; i++)
    if (Beneath(path, request.read_only[i]))
      Answer(message, FileStatus::kReadOnly, EROFS, path, -1, nullptr, i);
  mode_t mode = 0600;
  int folder = resolved.parent_fd;
  const char* name = strrchr(path, '/') + 1;
  if (resolved.fd >= 0) {
    struct stat status;
    if (fstat(resolved.fd, &status) != 0)
      Answer(message, FileStatus::kError, errno, path, -1, nullptr, 0);
    if (S_ISDIR(status.st_mode)) Answer(message, FileStatus::kDirectory, 0, path, -1, nullptr, 0);
    if (!S_ISREG(status.st_mode)) Answer(message, FileStatus::kOther, 0, path, -1, nullptr, 0);
    mode = status.st_mode & 0777;
    // A file that is a mount of its own (a read-only name in a writable folder) would only be found
    // busy by the rename. Its mode and a program that runs it do not matter: it is replaced, not
    // opened, as in the official tool.
    int probe = Reopen(resolved.fd, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    if (probe < 0 && errno == EROFS)
      Answer(message, FileStatus::kError, EROFS, path, -1, nullptr, 0);
    if (probe >= 0) close(probe);
  } else {
    for (const char* at = resolved.missing; at != nullptr && at < name;) {
      const char* end = strchrnul(at, '/');
      char part[NAME_MAX + 1];
      auto length = static_cast<size_t>(end - at);
      if (length > NAME_MAX)
        Answer(message, FileStatus::kError, ENAMETOOLONG, path, -1, nullptr, 0);
      memcpy(part, at, length);
      part[length] = 0;
      if (mkdirat(folder, part, 0700) != 0 && errno != EEXIST)
        Answer(message, FileStatus::kError, errno, path, -1, nullptr, 0);
      int next = openat(folder, part, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
      if (next < 0) Answer(message, FileStatus::kError, errno, path, -1, nullptr, 0);
      folder = next;
      at = end + 1;
    }
  }
  if ((message.flags & 0777) != 0) mode = message.flags & 0777;
  unsigned long random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random)
    random = static_cast<unsigned long>(getpid());
  char temporary[64];
  snprintf(temporary, sizeof temporary, ".holdfast-%016lx.tmp", random);
  int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) Answer(message, FileStatus::kError, errno, path, -1, nullptr, 0);
  int error = 0;
  // Made with its mode, unless the folder has another by default (acl(5)).
  struct stat made;
  if (!WriteAll(content_fd, fd) || fstat(fd, &made) != 0 ||
      ((made.st_mode & 07777) != mode && fchmod(fd, mode) != 0) || fsync(fd) != 0)
    error = errno;
  if (error == 0 && renameat(folder, temporary, folder, name) != 0) error = errno;
  if (error != 0) {
    unlinkat(folder, temporary, 0);
    Answer(message, FileStatus::kError, error, path, -1, nullptr, 0);
  }
  Answer(message, FileStatus::kOk, 0, path, -1, nullptr, 0);
}

}  // namespace holdfast
