#include "descendants.h"

#include <dirent.h>
#include <stdlib.h>

#include <map>

#include "caller.h"

namespace holdfast {

std::vector<int> Descendants(int pid) {
  std::vector<int> found;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return found;
  std::multimap<int, int> children;
  while (dirent* entry = readdir(proc)) {
    int found_pid = atoi(entry->d_name);
    if (found_pid > 1) children.insert({ParentOf(static_cast<uint32_t>(found_pid)), found_pid});
  }
  closedir(proc);
  std::vector<int> left{pid};
  while (!left.empty()) {
    auto [first, last] = children.equal_range(left.back());
    left.pop_back();
    for (auto child = first; child != last; ++child) {
      found.push_back(child->second);
      left.push_back(child->second);
    }
  }
  return found;
}

}  // namespace holdfast
