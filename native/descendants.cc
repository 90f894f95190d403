#include "descendants.h"

#include <dirent.h>
#include <stdlib.h>

#include <map>

#include "caller.h"

namespace holdfast {

std::vector<Descendant> Descendants(int pid) {
  std::vector<Descendant> found;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return found;
  std::multimap<int, Descendant> children;
  while (dirent* entry = readdir(proc)) {
    int found_pid = atoi(entry->d_name);
    ProcessStat stat{};
    if (found_pid <= 1 || !ReadStat(static_cast<uint32_t>(found_pid), &stat)) continue;
    children.insert({
        stat.parent, {found_pid, stat.threads < 1 ? 1 : stat.threads}
    });
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
