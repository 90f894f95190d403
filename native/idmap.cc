#include "idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <utility>

#include "kernel.h"

namespace holdfast {

namespace {

int WaitForKill(void*) {
  for (;;) pause();
}

Status WriteMap(const std::string& path, const std::string& map) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.Valid()) return Status::Failed("mount", "open", errno, path);
  if (write(fd.Get(), map.data(), map.size()) != static_cast<ssize_t>(map.size()))
    return Status::Failed("mount", "write", errno, path);
  return Status::Fine();
}

// User namespaces by their maps, open as long as the process.
class KnownNamespaces {
 public:
  int Find(const std::string& uid_map, const std::string& gid_map) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = fds_.find({uid_map, gid_map});
    return found == fds_.end() ? -1 : found->second;
  }
  void Keep(const std::string& uid_map, const std::string& gid_map, int fd) {
    std::lock_guard<std::mutex> lock(mutex_);
    fds_[{uid_map, gid_map}] = fd;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, int> fds_;
};

KnownNamespaces& Namespaces() {
  static auto* namespaces = new KnownNamespaces;
  return *namespaces;
}

// A user namespace that only holds the map; its process ends as soon as the namespace is open.
Status OpenUserNamespace(const std::string& uid_map, const std::string& gid_map, int* fd) {
  *fd = Namespaces().Find(uid_map, gid_map);
  if (*fd >= 0) return Status::Fine();
  constexpr size_t kStackSize = 16 * 1024;
  void* stack = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return Status::Failed("mount", "mmap", errno);
  // Shares our memory, runs nothing but pause(2).
  int child =
      clone(WaitForKill, static_cast<char*>(stack) + kStackSize, CLONE_NEWUSER | CLONE_VM, nullptr);
  if (child < 0) {
    int error = errno;
    munmap(stack, kStackSize);
    return Status::Failed("mount", "clone", error);
  }
  std::string folder = "/proc/" + std::to_string(child);
  Status status = WriteMap(folder + "/uid_map", uid_map);
  if (status.Ok()) status = WriteMap(folder + "/gid_map", gid_map);
  if (status.Ok()) {
    *fd = open((folder + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC);
    if (*fd < 0) status = Status::Failed("mount", "open", errno, folder + "/ns/user");
  }
  kill(child, SIGKILL);
  while (waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  munmap(stack, kStackSize);
  if (status.Ok()) Namespaces().Keep(uid_map, gid_map, *fd);
  return status;
}

}  // namespace

bool IsMapKnown(const std::string& uid_map, const std::string& gid_map) {
  return Namespaces().Find(uid_map, gid_map) >= 0;
}

Status CloneIdMapped(const std::string& source, bool recursive, const std::string& uid_map,
                     const std::string& gid_map, UniqueFd* tree) {
  int user_namespace = -1;
  Status status = OpenUserNamespace(uid_map, gid_map, &user_namespace);
  if (!status.Ok()) return status;
  unsigned flags = recursive ? kAtRecursive : 0;
  UniqueFd fd(OpenTree(AT_FDCWD, source.c_str(), kOpenTreeClone | kOpenTreeCloexec | flags));
  if (!fd.Valid()) return Status::Failed("mount", "open_tree", errno, source);
  MountAttr attr{kMountAttrIdmap, 0, 0, static_cast<uint64_t>(user_namespace)};
  if (MountSetattr(fd.Get(), "", AT_EMPTY_PATH | flags, &attr) != 0)
    return Status::Failed("mount", "mount_setattr", errno, source);
  *tree = std::move(fd);
  return Status::Fine();
}

}  // namespace holdfast
