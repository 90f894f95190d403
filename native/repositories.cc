#include "repositories.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <deque>
#include <utility>

#include "fd.h"

namespace holdfast {

namespace {

// linux/dirent.h: the kernel's own record, which libc does not export.
struct DirectoryEntry {
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[1];
};

// Some file systems take .GIT for .git, and git on them does.
bool Is(const char* name, const char* other) { return strcasecmp(name, other) == 0; }

// What tools fill with folders by the thousand.
bool IsFilled(const char* name) {
  for (const char* filled :
       {"node_modules", "__pycache__", "target", "dist", "build", ".venv", "venv"})
    if (Is(name, filled)) return true;
  return false;
}

std::string Below(const std::string& path, const char* name) {
  return path.empty() ? name : path + "/" + name;
}

UniqueFd OpenBelow(int root, const std::string& path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return UniqueFd(static_cast<int>(
      syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

bool IsFolder(int folder, const DirectoryEntry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type == DT_DIR;
  struct stat status;
  return fstatat(folder, entry.name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

// Breadth first over at most `most` folders; false when there are more. `enter` is told of each
// folder and returns what is told of each of its entries, and says whether to look into it.
template <typename Enter>
bool Walk(const std::string& root, size_t most, Enter enter) {
  UniqueFd top(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top.Valid()) return true;
  std::deque<std::string> near{""};
  std::deque<std::string> filled;
  alignas(DirectoryEntry) static thread_local char buffer[64 * 1024];
  for (size_t looked = 0; !near.empty() || !filled.empty(); looked++) {
    if (looked >= most) return false;
    bool is_filled = near.empty();
    std::deque<std::string>& left = is_filled ? filled : near;
    std::string path = std::move(left.front());
    left.pop_front();
    UniqueFd folder = OpenBelow(top.Get(), path);
    if (!folder.Valid()) continue;  // not ours to read, or exchanged: nothing to be tricked by
    auto look = enter(path, folder.Get());
    long size;
    while ((size = syscall(SYS_getdents64, folder.Get(), buffer, sizeof buffer)) > 0) {
      for (long at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
        at += entry->size;
        const char* name = entry->name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (!look(*entry) || !IsFolder(folder.Get(), *entry)) continue;
        (is_filled || IsFilled(name) ? filled : near).push_back(Below(path, name));
      }
    }
  }
  return true;
}

}  // namespace

Repositories FindRepositories(const std::string& root, size_t most) {
  Repositories result;
  struct Look {
    Repositories& result;
    const std::string& path;
    bool git = false, head = false, objects = false, refs = false, common = false;

    bool operator()(const DirectoryEntry& entry) {
      const char* name = entry.name;
      head = head || Is(name, "HEAD");
      objects = objects || Is(name, "objects");
      refs = refs || Is(name, "refs");
      common = common || Is(name, "commondir");
      if (!Is(name, ".git")) return true;
      git = true;
      return false;  // what lies in it is looked for by name
    }
    ~Look() {
      if (git) result.found.push_back({path, false});
      // git's setup.c, is_git_directory: HEAD, and objects and refs there or in a common folder.
      if (head && ((objects && refs) || common)) result.found.push_back({path, true});
    }
  };
  result.complete = Walk(root, most, [&](const std::string& path, int) {
    return Look{result, path};
  });
  return result;
}

std::vector<std::string> FindNames(const std::string& root, const std::set<uint64_t>& inodes,
                                   size_t most) {
  std::vector<std::string> found;
  Walk(root, most, [&](const std::string& path, int) {
    return [&found, &inodes, &path](const DirectoryEntry& entry) {
      bool is_file = entry.type == DT_REG || entry.type == DT_UNKNOWN;
      if (is_file && inodes.count(entry.inode) != 0) found.push_back(Below(path, entry.name));
      return true;
    };
  });
  return found;
}

}  // namespace holdfast
