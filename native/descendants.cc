#include "descendants.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <map>

#include "caller.h"
#include "fd.h"

namespace holdfast {

namespace {

// proc_pid_stat(5): the name in parentheses may hold anything, so fields are counted from its end:
// the state, the parent, … and as the 20th of the line the threads.
bool ReadStat(int pid, int* parent, int* threads) {
  UniqueFd file(open(ProcPath(static_cast<uint32_t>(pid), "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  ssize_t size = file.Valid() ? read(file.Get(), text, sizeof text - 1) : -1;
  if (size <= 0) return false;
  text[size] = 0;
  const char* at = strrchr(text, ')');
  return at != nullptr && sscanf(at + 1,
                                 " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
                                 "%*d %*d %d",
                                 parent, threads) == 2;
}

}  // namespace

std::vector<Descendant> Descendants(int pid) {
  std::vector<Descendant> found;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return found;
  std::multimap<int, Descendant> children;
  while (dirent* entry = readdir(proc)) {
    int parent = 0;
    Descendant process{atoi(entry->d_name), 1};
    if (process.pid <= 1 || !ReadStat(process.pid, &parent, &process.threads)) continue;
    if (process.threads < 1) process.threads = 1;
    children.insert({parent, process});
  }
  closedir(proc);
  std::vector<int> left{pid};
  while (!left.empty()) {
    auto [first, last] = children.equal_range(left.back());
    left.pop_back();
    for (auto child = first; child != last; ++child) {
      found.push_back(child->second);
      left.push_back(child->second.pid);
    }
  }
  return found;
}

}  // namespace holdfast
