#include "lookups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caller.h"
#include "descendants.h"

namespace holdfast {

namespace {

bool StartsWith(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

int ReadLink(int file, std::string* text) {
  char buffer[PATH_MAX];
  ssize_t size = readlinkat(file, "", buffer, sizeof buffer);
  if (size < 0) return errno;
  text->assign(buffer, static_cast<size_t>(size));
  return 0;
}

constexpr int kMostWatchers = 32;  // of the 128 that a user has (fs.inotify.max_user_instances)

UniqueFd OpenAt(int folder, const std::string& path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(syscall(SYS_openat2, folder, path.c_str(), &how, sizeof how)));
}

std::string ProcessOf(uint32_t tid) {
  constexpr char kName[] = "\nTgid:\t";  // proc_pid_status(5)
  std::string status = ReadProc(tid, "/status");
  const char* line = strstr(status.c_str(), kName);
  return line == nullptr ? std::string() : std::to_string(atoi(line + sizeof kName - 1));
}

// What a path that names its caller means to the caller.
std::string AsTheCallers(uint32_t tid, const std::string& path) {
  for (const auto& [prefix, own] : {
           std::pair<std::string, const char*>("/proc/self/", "/"),
           {"/proc/thread-self/", "/"   },
           {"/dev/fd/",           "/fd/"}
  })
    if (StartsWith(path, prefix)) return ProcPath(tid, own) + path.substr(prefix.size());
  return path;
}

bool IsOfProc(int file) {
  struct statfs status;
  return fstatfs(file, &status) == 0 && status.f_type == PROC_SUPER_MAGIC;
}

}  // namespace

Lookups::Lookups(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<const Territory> territory,
                 int init_pid)
    : init_pid_(init_pid),
      calls_(std::move(calls)),
      territory_(std::move(territory)),
      granted_(territory_->writable) {
  for (const std::string& path : territory_->readable) {
    granted_.push_back(path);
    char real[PATH_MAX];
    if (realpath(path.c_str(), real) != nullptr && path != real) granted_.emplace_back(real);
  }
}

bool Lookups::IsGranted(const std::string& path) const {
  for (const std::string& folder : granted_)
    if (IsWithin(path, folder)) return true;
  return false;
}

bool Lookups::IsKnown(const std::string& path) const {
  if (IsGranted(path) || path == "/") return true;
  for (const std::string& folder : granted_)
    if (StartsWith(folder, path + "/")) return true;
  return false;
}

// Of the links of /proc a program has those of its own process. Where a descriptor or the current
// folder leads through a link may be what that link would not have told.
int Lookups::OfProcess(uint32_t tid, int file, const std::string& place, int refusal,
                       std::string* text) {
  const char* number = place.c_str() + strlen("/proc/");
  if (StartsWith(place, "/proc/") && *number >= '1' && *number <= '9') {
    std::string process(number, strspn(number, "0123456789"));
    if (process != std::to_string(tid) && process != ProcessOf(tid)) return refusal;
  }
  int error = ReadLink(file, text);
  if (error != 0) return error;
  constexpr char kDeleted[] = " (deleted)";
  std::string led = *text;
  if (led.size() >= sizeof kDeleted &&
      led.compare(led.size() - (sizeof kDeleted - 1), std::string::npos, kDeleted) == 0)
    led.resize(led.size() - (sizeof kDeleted - 1));
  return led[0] != '/' || StartsWith(led, "/memfd:") || StartsWith(led, "/dev/") || IsKnown(led)
             ? 0
             : refusal;
}

int Lookups::Target(const seccomp_notif& notification, int refusal, std::string* text) {
  const auto* arguments = notification.data.args;
  uint32_t tid = notification.pid;
  bool at = notification.data.nr == SYS_readlinkat;
  int folder = at ? static_cast<int>(arguments[0]) : AT_FDCWD;
  std::string path = ReadText(tid, arguments[at ? 1 : 0]);
  ActingAs user(*territory_);
  if (!user.Fine()) return refusal;
  if (path == "/proc/self") {
    *text = ProcessOf(tid);
    return 0;
  }
  UniqueFd file;
  if (path.empty()) {
    if (!at || folder == AT_FDCWD) return ENOENT;
    file = OpenDescriptor(tid, folder);
  } else {
    UniqueFd from(path[0] == '/'       ? open("/", O_PATH | O_CLOEXEC)
                  : folder == AT_FDCWD ? open(ProcPath(tid, "/cwd").c_str(), O_PATH | O_CLOEXEC)
                                       : OpenDescriptor(tid, folder).Release());
    if (!from.Valid()) return errno == ENOENT ? EBADF : errno;
    file = OpenAt(from.Get(), AsTheCallers(tid, path), O_NOFOLLOW);
  }
  if (!file.Valid()) return errno;
  struct stat status;
  if (fstat(file.Get(), &status) != 0) return errno;
  if (!S_ISLNK(status.st_mode)) return path.empty() ? ENOENT : EINVAL;
  std::string place = PlaceOf(file.Get());
  if (IsOfProc(file.Get())) return OfProcess(tid, file.Get(), place, refusal, text);
  int error = ReadLink(file.Get(), text);
  if (error != 0) return error;
  // What leads to something that is granted says no more than its name (/bin, /etc/localtime).
  if (IsGranted(place) || StartsWith(*text, "/proc/self/")) return 0;
  UniqueFd led = OpenAt(AT_FDCWD, place, 0);
  if (led.Valid() && IsKnown(PlaceOf(led.Get()))) return 0;
  calls_->Record(notification.data.nr, "read " + place);
  return refusal;
}

int Lookups::CurrentFolder(const seccomp_notif& notification, int refusal, std::string* text) {
  UniqueFd folder(
      open(ProcPath(notification.pid, "/cwd").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat status;
  if (!folder.Valid() || fstat(folder.Get(), &status) != 0) return errno;
  if (status.st_nlink == 0) return ENOENT;
  *text = PlaceOf(folder.Get());
  return IsKnown(*text) ? 0 : refusal;
}

// Made here, of what was looked at: what stands at the path by then may be something else.
int Lookups::Watch(const seccomp_notif& notification, int refusal, int* watch) {
  const auto* arguments = notification.data.args;
  uint32_t tid = notification.pid;
  std::string path = ReadText(tid, arguments[1]);
  auto mask = static_cast<uint32_t>(arguments[2]);
  if (path.empty()) return ENOENT;
  UniqueFd watcher = Duplicate(tid, static_cast<int>(arguments[0]));
  if (!watcher.Valid()) return errno == EBADF ? EBADF : refusal;
  ActingAs user(*territory_);
  if (!user.Fine()) return refusal;
  UniqueFd from(path[0] == '/' ? open("/", O_PATH | O_CLOEXEC)
                               : open(ProcPath(tid, "/cwd").c_str(), O_PATH | O_CLOEXEC));
  if (!from.Valid()) return errno;
  UniqueFd file = OpenAt(from.Get(), path, (mask & IN_DONT_FOLLOW) != 0 ? O_NOFOLLOW : 0);
  if (!file.Valid()) return errno;
  std::string place = PlaceOf(file.Get());
  if (!IsGranted(place)) {
    calls_->Record(notification.data.nr, "read " + place);
    return refusal;
  }
  if (!calls_->StillValid(notification.id)) return EINTR;
  *watch = inotify_add_watch(watcher.Get(), ("/proc/self/fd/" + std::to_string(file.Get())).c_str(),
                             mask & ~static_cast<uint32_t>(IN_DONT_FOLLOW));
  return *watch < 0 ? errno : 0;
}

// Those of one user are few, and the user outside is to have some.
void Lookups::MakeWatcher(const seccomp_notif& notification) {
  int sum = 0;
  for (int pid : Descendants(init_pid_)) {
    std::string folder = ProcPath(static_cast<uint32_t>(pid), "/fd");
    DIR* directory = opendir(folder.c_str());
    if (directory == nullptr) continue;
    while (dirent* entry = readdir(directory)) {
      char text[64];
      ssize_t size = readlinkat(dirfd(directory), entry->d_name, text, sizeof text);
      constexpr char kWatcher[] = "anon_inode:inotify";
      sum += size == sizeof kWatcher - 1 && memcmp(text, kWatcher, sizeof kWatcher - 1) == 0;
    }
    closedir(directory);
  }
  if (sum < kMostWatchers)
    calls_->GoOn(notification.id);
  else
    calls_->Reply(notification.id, EMFILE);
}

void Lookups::NoteRefusal(int number, int file, const std::string& path, int flags, bool writes) {
  std::string place;
  if (file >= 0) {
    place = PlaceOf(file);
  } else if ((flags & O_CREAT) != 0) {
    UniqueFd folder = OpenAt(AT_FDCWD, path.substr(0, path.find_last_of('/') + 1), O_DIRECTORY);
    if (folder.Valid()) place = PlaceOf(folder.Get());
  }
  // Nothing grants a process's own folder, and devices are written where they are granted.
  if (place.empty() || place[0] != '/' || StartsWith(place, "/proc/")) return;
  bool device = StartsWith(place, "/dev/");
  bool refused = writes && !device ? !territory_->IsWritable(place) : !IsGranted(place);
  if (refused) calls_->Record(number, (writes ? "write " : "read ") + place);
}

void Lookups::Answer(const seccomp_notif& notification, int refusal) {
  switch (notification.data.nr) {
#ifdef SYS_inotify_init
    case SYS_inotify_init:
#endif
    case SYS_inotify_init1:
      return MakeWatcher(notification);
    case SYS_inotify_add_watch: {
      int watch = 0;
      int error = Watch(notification, refusal, &watch);
      if (error != 0) return calls_->Reply(notification.id, error);
      return calls_->Return(notification.id, watch);
    }
    default:
      return AnswerText(notification, refusal);
  }
}

void Lookups::AnswerText(const seccomp_notif& notification, int refusal) {
  const auto* arguments = notification.data.args;
  bool is_folder = notification.data.nr == SYS_getcwd;
  int first = is_folder ? 0 : notification.data.nr == SYS_readlinkat ? 2 : 1;
  uint64_t room = is_folder ? arguments[1] : static_cast<uint32_t>(arguments[first + 1]);
  if (!is_folder && static_cast<int32_t>(room) <= 0) return calls_->Reply(notification.id, EINVAL);
  std::string text;
  int error = is_folder ? CurrentFolder(notification, refusal, &text)
                        : Target(notification, refusal, &text);
  if (error != 0) return calls_->Reply(notification.id, error);
  if (is_folder) text.push_back(0);
  if (text.size() > room) {
    if (is_folder) return calls_->Reply(notification.id, ERANGE);
    text.resize(room);
  }
  // What is written is the caller's only if it still stands there.
  if (!calls_->StillValid(notification.id)) return;
  if (WriteMemory(notification.pid, arguments[first], text.data(), text.size()) !=
      static_cast<ssize_t>(text.size()))
    return calls_->Reply(notification.id, EFAULT);
  calls_->Return(notification.id, static_cast<int64_t>(text.size()));
}

}  // namespace holdfast
