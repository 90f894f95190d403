#include "exits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "kernel.h"

namespace holdfast {

namespace {

// Each costs the launcher a descriptor, which it shares with all its sandboxes: of what a sandbox
// has more, it is not known how it ended.
constexpr size_t kMostHeld = 256;

// include/uapi/linux/pidfd.h
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t ids[11];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64, "PIDFD_INFO_SIZE_VER0");
constexpr uint64_t kPidfdInfoExit = 1 << 3;
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);

// The wait status of a process that was reaped; false while it was not.
bool ExitStatus(int pidfd, int* status) {
  PidfdInfo info{};
  info.mask = kPidfdInfoExit;
  if (ioctl(pidfd, kPidfdGetInfo, &info) != 0 || (info.mask & kPidfdInfoExit) == 0) return false;
  *status = info.exit_code;
  return true;
}

std::string ReadAll(const std::string& path) {
  std::string text;
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  for (ssize_t size; fd.Valid() && (size = read(fd.Get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(size));
  return text;
}

int EndWithSeven(void*) { _exit(7); }

}  // namespace

bool PidfdTellsExit() {
  static const bool tells = [] {
    alignas(16) static char stack[16 * 1024];
    int fd = -1;
    // Not fork(2), which copies the page tables of a large process.
    int child = clone(EndWithSeven, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
                      nullptr, &fd);
    if (child < 0) return false;
    UniqueFd pidfd(fd);
    while (waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
    }
    int status = 0;
    return ExitStatus(pidfd.Get(), &status) && WIFEXITED(status) && WEXITSTATUS(status) == 7;
  }();
  return tells;
}

ExitWatch::ExitWatch() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

bool ExitWatch::HoldChildren(int32_t tid, int32_t session) {
  std::string tasks = "/proc/" + std::to_string(tid) + "/task";
  DIR* directory = opendir(tasks.c_str());
  if (directory == nullptr) return false;
  std::string children;
  while (dirent* entry = readdir(directory))
    if (entry->d_name[0] != '.') children += ReadAll(tasks + "/" + entry->d_name + "/children");
  closedir(directory);
  std::lock_guard<std::mutex> lock(mutex_);
  const char* at = children.c_str();
  for (char* end = nullptr;; at = end) {
    auto pid = static_cast<int32_t>(strtol(at, &end, 10));
    if (end == at) return !exceeded_.empty();
    auto known = held_.find(pid);
    int status;
    // The number may be another process's by now.
    if (known != held_.end() && ExitStatus(known->second.pidfd.Get(), &status)) HarvestLocked();
    if (held_.count(pid) != 0 || held_.size() >= kMostHeld) continue;
    UniqueFd pidfd(PidfdOpen(pid, 0));
    if (!pidfd.Valid()) continue;
    epoll_event event{};
    event.events = EPOLLET;  // and EPOLLHUP, which is always told: it was reaped
    event.data.u64 = static_cast<uint64_t>(pid);
    if (epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, pidfd.Get(), &event) == 0)
      held_.emplace(pid, Held{std::move(pidfd), session});
  }
}

void ExitWatch::HarvestLocked() {
  for (auto at = held_.begin(); at != held_.end();) {
    int status;
    if (!ExitStatus(at->second.pidfd.Get(), &status)) {
      ++at;
      continue;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ) exceeded_.push_back(at->second.session);
    at = held_.erase(at);
  }
}

std::vector<int32_t> ExitWatch::Harvest() {
  epoll_event events[64];
  while (epoll_wait(epoll_.Get(), events, 64, 0) == 64) {
  }
  std::vector<int32_t> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  HarvestLocked();
  taken.swap(exceeded_);
  return taken;
}

}  // namespace holdfast
