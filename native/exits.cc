#include "exits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "kernel.h"

namespace holdfast {

namespace {

// A call with more children alive at once has a limit of its own to meet first.
constexpr size_t kMostHeld = 2048;

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

// proc_pid_status(5): the last number of NSsid is the session as the process itself numbers it.
int32_t InnerSession(int32_t pid) {
  std::string status = ReadAll("/proc/" + std::to_string(pid) + "/status");
  size_t line = status.find("\nNSsid:");
  if (line == std::string::npos) return 0;
  size_t end = status.find('\n', line + 1);
  size_t last = status.find_last_of("\t ", end);
  return last == std::string::npos ? 0 : atoi(status.c_str() + last + 1);
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

void ExitWatch::HoldChildren(uint32_t tid) {
  std::string tasks = "/proc/" + std::to_string(tid) + "/task";
  DIR* directory = opendir(tasks.c_str());
  if (directory == nullptr) return;
  std::lock_guard<std::mutex> lock(mutex_);
  while (dirent* entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    std::string children = ReadAll(tasks + "/" + entry->d_name + "/children");
    char* rest = nullptr;
    for (char* word = strtok_r(children.data(), " ", &rest); word != nullptr;
         word = strtok_r(nullptr, " ", &rest)) {
      int32_t pid = atoi(word);
      auto known = held_.find(pid);
      int status;
      // The number may be another process's by now.
      if (known != held_.end() && ExitStatus(known->second.pidfd.Get(), &status))
        HarvestLocked(nullptr);
      if (held_.count(pid) != 0 || held_.size() >= kMostHeld) continue;
      UniqueFd pidfd(PidfdOpen(pid, 0));
      if (!pidfd.Valid()) continue;
      epoll_event event{};
      event.events = EPOLLET;  // and EPOLLHUP, which is always told: it was reaped
      event.data.u64 = static_cast<uint64_t>(pid);
      if (epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, pidfd.Get(), &event) != 0) continue;
      int32_t session = InnerSession(pid);
      held_.emplace(pid, Held{std::move(pidfd), session});
    }
  }
  closedir(directory);
}

void ExitWatch::HarvestLocked(std::set<int32_t>* fresh) {
  for (auto at = held_.begin(); at != held_.end();) {
    int status;
    if (!ExitStatus(at->second.pidfd.Get(), &status)) {
      ++at;
      continue;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ &&
        exceeded_.insert(at->second.session).second && fresh != nullptr)
      fresh->insert(at->second.session);
    at = held_.erase(at);
  }
}

std::set<int32_t> ExitWatch::Harvest() {
  std::set<int32_t> fresh;
  epoll_event events[64];
  while (epoll_wait(epoll_.Get(), events, 64, 0) == 64) {
  }
  std::lock_guard<std::mutex> lock(mutex_);
  HarvestLocked(&fresh);
  return fresh;
}

bool ExitWatch::TakeExceeded(int32_t session) {
  std::lock_guard<std::mutex> lock(mutex_);
  HarvestLocked(nullptr);
  if (session != 0) return exceeded_.erase(session) > 0;
  bool any = !exceeded_.empty();
  exceeded_.clear();
  return any;
}

}  // namespace holdfast
