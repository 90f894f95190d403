#include "ancestry.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caller.h"
#include "fd.h"

namespace holdfast {

namespace {

constexpr size_t kMostAncestors = 16;
constexpr size_t kMostArguments = 8;
constexpr size_t kMostKnown = 1024;

// What it is called by can change as soon as it has been looked at; it is opened without waiting
// for anybody.
bool IsScript(uint32_t pid, const std::string& path) {
  UniqueFd found = OpenInside(pid, path, O_PATH);
  struct stat status;
  if (!found.Valid() || fstat(found.Get(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  std::string link = "/proc/self/fd/" + std::to_string(found.Get());
  UniqueFd file(open(link.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  char mark[2] = {};
  return file.Valid() && pread(file.Get(), mark, 2, 0) == 2 && memcmp(mark, "#!", 2) == 0;
}

std::string ScriptOf(uint32_t pid) {
  std::string text = ReadProc(pid, "/cmdline");
  const char* argument = text.c_str();
  for (size_t i = 0; i < kMostArguments; i++) {
    argument += strlen(argument) + 1;
    if (argument >= text.c_str() + text.size()) return {};
    if (*argument == 0 || *argument == '-') continue;
    std::string path = Absolute(pid, "/cwd", argument);
    if (IsScript(pid, path)) return path;
  }
  return {};
}

}  // namespace

Ancestry ReadAncestry(uint32_t tid, int init_pid) {
  Ancestry found;
  found.script = ScriptOf(tid);
  int pid = ParentOf(tid);
  while (pid > 1 && pid != init_pid && found.ancestors.size() < kMostAncestors) {
    char path[PATH_MAX];
    auto parent = static_cast<uint32_t>(pid);
    ssize_t size = readlink(ProcPath(parent, "/exe").c_str(), path, sizeof path);
    if (size <= 0) break;
    found.ancestors.emplace_back(path, static_cast<size_t>(size));
    pid = ParentOf(parent);
  }
  return found;
}

Ancestry Ancestries::Of(uint32_t tid, uint64_t image, int init_pid) {
  if (image == 0) return ReadAncestry(tid, init_pid);
  const std::pair<uint32_t, uint64_t> key(tid, image);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = known_.find(key);
    if (found != known_.end()) return found->second;
  }
  Ancestry read = ReadAncestry(tid, init_pid);
  std::lock_guard<std::mutex> lock(mutex_);
  if (known_.size() >= kMostKnown) known_.clear();
  known_[key] = read;
  return read;
}

}  // namespace holdfast
