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

UniqueFd OpenBelow(int root, const std::string& path, uint64_t flags = O_RDONLY) {
  open_how how{};
  how.flags = flags | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return UniqueFd(static_cast<int>(
      syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

// Opens folders that a session has shut to their owner.
struct Opener {
  int64_t since;
  std::vector<OpenedFolder>* opened;

  // `folder`: O_PATH or not. False where it was open, or is not ours to change.
  bool LetIn(int folder, const std::string& path) const {
    struct stat status;
    if (fstat(folder, &status) != 0 || (status.st_mode & S_IRWXU) == S_IRWXU) return false;
    int64_t changed =
        static_cast<int64_t>(status.st_ctim.tv_sec) * 1000000000 + status.st_ctim.tv_nsec;
    if (status.st_uid != geteuid() || changed < since) return false;
    std::string link = "/proc/self/fd/" + std::to_string(folder);
    uint32_t mode = status.st_mode & 07777;
    if (chmod(link.c_str(), mode | S_IRWXU) != 0) return false;
    opened->push_back({path, mode});
    return true;
  }

  UniqueFd Open(int top, const std::string& path) const {
    UniqueFd folder = OpenBelow(top, path);
    if (folder.Valid()) {
      LetIn(folder.Get(), path);
      return folder;
    }
    if (errno != EACCES) return folder;
    UniqueFd shut = OpenBelow(top, path, O_PATH);
    if (!shut.Valid() || !LetIn(shut.Get(), path)) return UniqueFd();
    return OpenBelow(top, path);
  }
};

bool IsFolder(int folder, const DirectoryEntry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type == DT_DIR;
  struct stat status;
  return fstatat(folder, entry.name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

// Breadth first over at most `most` folders; false when there are more. `enter` is told of each
// folder and returns what is told of each of its entries, and says whether to look into it.
template <typename Enter>
bool Walk(const std::string& root, size_t most, Enter enter, const Opener* opener = nullptr) {
  UniqueFd top(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top.Valid()) return true;
  // What it is looked up from has to be open first.
  if (opener != nullptr) opener->LetIn(top.Get(), "");
  std::deque<std::string> near{""};
  std::deque<std::string> filled;
  alignas(DirectoryEntry) static thread_local char buffer[64 * 1024];
  for (size_t looked = 0; !near.empty() || !filled.empty(); looked++) {
    if (looked >= most) return false;
    bool is_filled = near.empty();
    std::deque<std::string>& left = is_filled ? filled : near;
    std::string path = std::move(left.front());
    left.pop_front();
    UniqueFd folder =
        opener == nullptr ? OpenBelow(top.Get(), path) : opener->Open(top.Get(), path);
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

Repositories FindRepositories(const std::string& root, size_t most, int64_t since) {
  Repositories result;
  Opener opener{since, &result.opened};
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
  const Opener* opens = since < 0 ? nullptr : &opener;
  auto enter = [&](const std::string& path, int) { return Look{result, path}; };
  result.complete = Walk(root, most, enter, opens);
  if (opens == nullptr) return result;
  // Of git's own folders those that hold hooks, settings, and other repositories.
  auto pass = [&](const std::string&, int) {
    return [](const DirectoryEntry& entry) {
      for (const char* other : {"objects", "refs", "logs", "lfs", "info"})
        if (Is(entry.name, other)) return false;
      return true;
    };
  };
  for (const Repository& repository : result.found) {
    if (repository.bare) continue;
    std::string git = Below(repository.path, ".git");
    size_t before = result.opened.size();
    result.complete = Walk(Below(root, git.c_str()), most, pass, opens) && result.complete;
    for (size_t i = before; i < result.opened.size(); i++)
      result.opened[i].path =
          result.opened[i].path.empty() ? git : git + "/" + result.opened[i].path;
  }
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
