#include "metadata.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#include <vector>

#include "caller.h"
#include "fd.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace holdfast {

namespace {

constexpr size_t kMaxValue = 64 * 1024;  // XATTR_SIZE_MAX (linux/limits.h)

enum class Kind { kMode, kOwner, kTimes, kSet, kRemove };

// Of which of its arguments a call is made.
struct Shape {
  Kind kind;
  int folder;      // the folder's descriptor; -1: the current one
  int path;        // -1: `folder` is the file's own descriptor
  int flags;       // of AT_*; -1: none
  bool no_follow;  // a link itself, whatever the flags say
  int first;       // of the arguments that say what to change
};

bool ShapeOf(int number, Shape* shape) {
  switch (number) {
#ifdef SYS_chmod
    case SYS_chmod:
      *shape = {Kind::kMode, -1, 0, -1, false, 1};
      return true;
#endif
    case SYS_fchmod:
      *shape = {Kind::kMode, 0, -1, -1, false, 1};
      return true;
    case SYS_fchmodat:
      *shape = {Kind::kMode, 0, 1, -1, false, 2};
      return true;
    case SYS_fchmodat2:
      *shape = {Kind::kMode, 0, 1, 3, false, 2};
      return true;
#ifdef SYS_chown
    case SYS_chown:
      *shape = {Kind::kOwner, -1, 0, -1, false, 1};
      return true;
    case SYS_lchown:
      *shape = {Kind::kOwner, -1, 0, -1, true, 1};
      return true;
#endif
    case SYS_fchown:
      *shape = {Kind::kOwner, 0, -1, -1, false, 1};
      return true;
    case SYS_fchownat:
      *shape = {Kind::kOwner, 0, 1, 4, false, 2};
      return true;
#ifdef SYS_utime
    case SYS_utime:
      *shape = {Kind::kTimes, -1, 0, -1, false, 1};
      return true;
    case SYS_utimes:
      *shape = {Kind::kTimes, -1, 0, -1, false, 1};
      return true;
    case SYS_futimesat:
      *shape = {Kind::kTimes, 0, 1, -1, false, 2};
      return true;
#endif
    case SYS_utimensat:
      *shape = {Kind::kTimes, 0, 1, 3, false, 2};
      return true;
    case SYS_setxattr:
      *shape = {Kind::kSet, -1, 0, -1, false, 1};
      return true;
    case SYS_lsetxattr:
      *shape = {Kind::kSet, -1, 0, -1, true, 1};
      return true;
    case SYS_fsetxattr:
      *shape = {Kind::kSet, 0, -1, -1, false, 1};
      return true;
    case SYS_removexattr:
      *shape = {Kind::kRemove, -1, 0, -1, false, 1};
      return true;
    case SYS_lremovexattr:
      *shape = {Kind::kRemove, -1, 0, -1, true, 1};
      return true;
    case SYS_fremovexattr:
      *shape = {Kind::kRemove, 0, -1, -1, false, 1};
      return true;
    default:
      return false;
  }
}

// What is to become of a file: read of the caller once, before anything is judged.
struct Wish {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec times[2] = {
      {0, UTIME_NOW},
      {0, UTIME_NOW}
  };
  std::string name;
  std::vector<char> value;
  int flags = 0;
};

int ReadTimes(const seccomp_notif& notification, uint64_t address, Wish* wish) {
  if (address == 0) return 0;  // now
  if (notification.data.nr == SYS_utimensat)
    return ReadMemory(notification.pid, address, wish->times, sizeof wish->times) ==
                   static_cast<ssize_t>(sizeof wish->times)
               ? 0
               : EFAULT;
#ifdef SYS_utime
  if (notification.data.nr == SYS_utime) {
    utimbuf times{};
    if (ReadMemory(notification.pid, address, &times, sizeof times) !=
        static_cast<ssize_t>(sizeof times))
      return EFAULT;
    wish->times[0] = {times.actime, 0};
    wish->times[1] = {times.modtime, 0};
    return 0;
  }
#endif
  timeval times[2]{};
  if (ReadMemory(notification.pid, address, times, sizeof times) !=
      static_cast<ssize_t>(sizeof times))
    return EFAULT;
  for (int i = 0; i < 2; i++) {
    if (times[i].tv_usec < 0 || times[i].tv_usec >= 1000000) return EINVAL;
    wish->times[i] = {times[i].tv_sec, times[i].tv_usec * 1000};
  }
  return 0;
}

int ReadWish(const seccomp_notif& notification, const Shape& shape, Wish* wish) {
  const auto* arguments = &notification.data.args[shape.first];
  switch (shape.kind) {
    case Kind::kMode:
      wish->mode = static_cast<mode_t>(arguments[0]) & 07777;
      return 0;
    case Kind::kOwner:
      wish->uid = static_cast<uid_t>(arguments[0]);
      wish->gid = static_cast<gid_t>(arguments[1]);
      return 0;
    case Kind::kTimes:
      return ReadTimes(notification, arguments[0], wish);
    case Kind::kSet: {
      wish->name = ReadText(notification.pid, arguments[0]);
      uint64_t size = arguments[2];
      if (size > kMaxValue) return E2BIG;
      wish->value.resize(size);
      wish->flags = static_cast<int>(arguments[3]);
      if (size > 0 && ReadMemory(notification.pid, arguments[1], wish->value.data(), size) !=
                          static_cast<ssize_t>(size))
        return EFAULT;
      return 0;
    }
    case Kind::kRemove:
      wish->name = ReadText(notification.pid, arguments[0]);
      return 0;
  }
  return EINVAL;
}

// The number that `/proc/self/fd/N` and its like name, else -1: what lies behind such a link is the
// caller's descriptor, and only its own.
int NamedDescriptor(uint32_t tid, const std::string& path) {
  for (const std::string& folder :
       {std::string("/proc/self/fd/"), std::string("/proc/thread-self/fd/"), ProcPath(tid, "/fd/"),
        std::string("/dev/fd/")}) {
    if (path.compare(0, folder.size(), folder) != 0 || path.size() == folder.size()) continue;
    char* end;
    long number = strtol(path.c_str() + folder.size(), &end, 10);
    if (*end == 0 && number >= 0 && number <= INT_MAX) return static_cast<int>(number);
  }
  return -1;
}

UniqueFd OpenFile(const seccomp_notif& notification, const Shape& shape, bool no_follow,
                  bool may_be_empty, const Territory& territory) {
  auto folder =
      shape.folder < 0 ? AT_FDCWD : static_cast<int>(notification.data.args[shape.folder]);
  // As utimensat(2) has it, no path at all means the descriptor as well.
  if (shape.path < 0 ||
      (shape.kind == Kind::kTimes && shape.folder >= 0 && notification.data.args[shape.path] == 0))
    return OpenDescriptor(notification.pid, folder);
  std::string path = ReadText(notification.pid, notification.data.args[shape.path]);
  if (path.empty()) {
    if (may_be_empty && folder != AT_FDCWD) return OpenDescriptor(notification.pid, folder);
    if (may_be_empty) path = ".";
    errno = ENOENT;
    if (!may_be_empty) return UniqueFd();
  }
  int named = no_follow ? -1 : NamedDescriptor(notification.pid, path);
  if (named >= 0) return OpenDescriptor(notification.pid, named);
  std::string from = path[0] == '/' ? ProcPath(notification.pid, "/root")
                     : folder == AT_FDCWD
                         ? ProcPath(notification.pid, "/cwd")
                         : ProcPath(notification.pid, ("/fd/" + std::to_string(folder)).c_str());
  UniqueFd at(open(from.c_str(), O_PATH | O_CLOEXEC));
  if (!at.Valid()) return UniqueFd();
  // What lies in folders that are not the caller's to search is not told by root either.
  ActingAs user(territory);
  if (!user.Fine()) {
    errno = EACCES;
    return UniqueFd();
  }
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | (no_follow ? O_NOFOLLOW : 0);
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(syscall(SYS_openat2, at.Get(), path.c_str(), &how, sizeof how)));
}

int Apply(int file, Kind kind, const Wish& wish) {
  std::string link = "/proc/self/fd/" + std::to_string(file);
  auto done = [](int result) { return result == 0 ? 0 : errno; };
  switch (kind) {
    case Kind::kMode:
      return done(chmod(link.c_str(), wish.mode));
    case Kind::kOwner:
      return done(fchownat(file, "", wish.uid, wish.gid, AT_EMPTY_PATH));
    case Kind::kTimes:
      return done(static_cast<int>(syscall(SYS_utimensat, file, "", wish.times, AT_EMPTY_PATH)));
    case Kind::kSet:
      return done(setxattr(link.c_str(), wish.name.c_str(), wish.value.data(), wish.value.size(),
                           wish.flags));
    case Kind::kRemove:
      return done(removexattr(link.c_str(), wish.name.c_str()));
  }
  return EINVAL;
}

}  // namespace

int Metadata::Change(const seccomp_notif& notification, int refusal) {
  Shape shape{};
  if (!ShapeOf(notification.data.nr, &shape)) return refusal;
  Wish wish;
  int error = ReadWish(notification, shape, &wish);
  if (error != 0) return error;
  int flags = shape.flags < 0 ? 0 : static_cast<int>(notification.data.args[shape.flags]);
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return EINVAL;
  bool no_follow = shape.no_follow || (flags & AT_SYMLINK_NOFOLLOW) != 0;
  UniqueFd file =
      OpenFile(notification, shape, no_follow, (flags & AT_EMPTY_PATH) != 0, *territory_);
  if (!file.Valid()) return errno;
  std::string path = PlaceOf(file.Get());
  if (path.empty()) return ENAMETOOLONG;
  // Pipes, sockets and memory files are whoever's who holds them.
  bool unnamed = path[0] != '/' || path.compare(0, 7, "/memfd:") == 0;
  if (!unnamed && !territory_->IsWritable(path)) {
    calls_->Record(notification.data.nr, "write " + path);
    return refusal;
  }
  // What was read was the caller's only if it still stands there.
  if (!calls_->StillValid(notification.id)) return EINTR;
  ActingAs user(*territory_);
  return user.Fine() ? Apply(file.Get(), shape.kind, wish) : refusal;
}

void Metadata::Answer(const seccomp_notif& notification, int refusal) {
  calls_->Reply(notification.id, Change(notification, refusal));
}

}  // namespace holdfast
