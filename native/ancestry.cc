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

// 0 where there is none.
int ParentOf(uint32_t pid) {
  UniqueFd file(open(ProcPath(pid, "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[512];
  ssize_t size = file.Valid() ? read(file.Get(), text, sizeof text - 1) : -1;
  if (size <= 0) return 0;
  text[size] = 0;
  // PID (NAME) STATE PPID: the name is the process's to choose, a bracket in it too.
  const char* name_end = strrchr(text, ')');
  return name_end == nullptr || strlen(name_end) < 5 ? 0 : atoi(name_end + 4);
}

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
  UniqueFd file(open(ProcPath(pid, "/cmdline").c_str(), O_RDONLY | O_CLOEXEC));
  char text[PATH_MAX];
  ssize_t size = file.Valid() ? read(file.Get(), text, sizeof text - 1) : -1;
  if (size <= 0) return {};
  text[size] = 0;
  const char* argument = text;
  for (size_t i = 0; i < kMostArguments; i++) {
    argument += strlen(argument) + 1;
    if (argument >= text + size) return {};
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

}  // namespace holdfast
