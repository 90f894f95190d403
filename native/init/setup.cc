#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kernel.h"
#include "network.h"
#include "verify.h"

namespace holdfast {

namespace {

// The sandbox's own files are made by exact mode, whatever umask the launcher had.
constexpr uint64_t kFileRights = 0x1 /*EXECUTE*/ | 0x2 /*WRITE_FILE*/ | 0x4 /*READ_FILE*/ |
                                 (1u << 14) /*TRUNCATE*/ | (1u << 15) /*IOCTL_DEV*/;

int MakeMount(const char* type, const uint64_t* size, const uint64_t* inodes, const char* mode,
              uint64_t attributes) {
  int context = static_cast<int>(syscall(kSysFsopen, type, kFsopenCloexec));
  if (context < 0) return -1;
  char number[32];
  bool ok = true;
  if (size != nullptr && *size != 0) {
    snprintf(number, sizeof number, "%llu", static_cast<unsigned long long>(*size));
    ok = ok && syscall(kSysFsconfig, context, kFsconfigSetString, "size", number, 0) == 0;
  }
  if (inodes != nullptr && *inodes != 0) {
    snprintf(number, sizeof number, "%llu", static_cast<unsigned long long>(*inodes));
    ok = ok && syscall(kSysFsconfig, context, kFsconfigSetString, "nr_inodes", number, 0) == 0;
  }
  if (mode != nullptr)
    ok = ok && syscall(kSysFsconfig, context, kFsconfigSetString, "mode", mode, 0) == 0;
  ok = ok && syscall(kSysFsconfig, context, kFsconfigCmdCreate, nullptr, nullptr, 0) == 0;
  int mount =
      ok ? static_cast<int>(syscall(kSysFsmount, context, kFsmountCloexec, attributes)) : -1;
  int error = errno;
  close(context);
  errno = error;
  return mount;
}

// A user has a number of keys (keyrings(7), maxkeys), and those of sandboxes that have ended are
// given back a moment later.
bool JoinKeyring() {
  for (int round = 0; round < 20; round++) {
    // A kernel without keyrings has none to inherit.
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) >= 0 || errno == ENOSYS)
      return true;
    if (errno != EDQUOT) return false;
    usleep(50000);
  }
  errno = EDQUOT;
  return false;
}

}  // namespace

bool Setup::Fail(const char* call, const char* path, int error) {
  failure_.error = error;
  failure_.index = current_.index;
  failure_.code = current_.code;
  failure_.syscall = call;
  size_t length = strnlen(path, sizeof failure_.path - 1);
  memcpy(failure_.path, path, length);
  failure_.path[length] = 0;
  return false;
}

// What must be looked up in the host's view, and as whom we were started: bind sources (a folder
// above may admit only root), a fresh proc (the kernel gives one only while an unmasked one is
// visible, kernel-notes E2), network sysctls.
bool Setup::Prepare(const Operation& op, int* source) {
  *source = -1;
  switch (op.code) {
    case OpCode::kBind: {
      uint64_t flags = op.numbers[0];
      auto extra = static_cast<int64_t>(op.numbers[1]);
      if (extra >= 0) {
        if (extra >= extra_count_) return Fail("descriptor", op.strings[1].data, EBADF);
        *source = extra_fds_[extra];
        return true;
      }
      if ((flags & static_cast<uint64_t>(BindFlag::kBeforePivot)) == 0) return true;
      unsigned how = kOpenTreeClone | kOpenTreeCloexec;
      if (flags & static_cast<uint64_t>(BindFlag::kRecursive)) how |= kAtRecursive;
      *source = OpenTree(AT_FDCWD, op.strings[0].data, how);
      if (*source < 0 && !((flags & static_cast<uint64_t>(BindFlag::kOptional)) && errno == ENOENT))
        return Fail("open_tree", op.strings[0].data, errno);
      return true;
    }
    case OpCode::kCopy:
      *source = open(op.strings[0].data, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
      return *source >= 0 || errno == ENOENT || Fail("open", op.strings[0].data, errno);
    case OpCode::kProc:
      *source = MakeMount("proc", nullptr, nullptr, nullptr,
                          kMountAttrRdonly | kMountAttrNosuid | kMountAttrNodev | kMountAttrNoexec);
      return *source >= 0 || Fail("fsmount", "/proc", errno);
    case OpCode::kSysctl:
      // The sandbox's own proc is read-only, and its network namespace is not there yet.
      if (host_proc_fd_ < 0) host_proc_fd_ = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
      return host_proc_fd_ >= 0 || Fail("open", "/proc", errno);
    default:
      return true;
  }
}

bool Setup::Run(const uint8_t* program, size_t size) {
  umask(0);
  ProgramReader reader(program, size);
  int count = 0;
  while (reader.Next(&current_)) {
    if (count >= kMaxSources) return Fail("program", "", E2BIG);
    if (!Prepare(current_, &sources_[count++])) return false;
  }
  if (reader.Malformed()) return Fail("program", "", EBADMSG);
  reader.Rewind();
  for (int i = 0; reader.Next(&current_); i++) {
    if (current_.code != OpCode::kSysctl && wrote_sysctl_ && host_proc_fd_ >= 0) {
      close(host_proc_fd_);
      host_proc_fd_ = -1;
    }
    if (NeedsNetwork(current_.code)) {
      const char* call = "";
      int error = JoinNetworkNamespace(&call);
      if (error != 0) return Fail(call, "network namespace", error);
      if (!DetachOldRoot()) return false;
    }
    if (!Apply(current_, sources_[i])) return false;
  }
  Wall wall{};
  const char* what = "";
  int error = FinishAttempts(&wall, &what);
  if (outsider_line_ >= 0) close(outsider_line_);
  outsider_line_ = -1;
  if (error < 0) return true;
  current_.code = OpCode::kVerify;
  failure_.wall = static_cast<uint16_t>(wall);
  return Fail(what, "", error);
}

// All but what builds the mount view: that goes on while the namespace is made. Nothing is
// verified, dropped or restricted before its thread is gone.
bool Setup::NeedsNetwork(OpCode code) const {
  switch (code) {
    case OpCode::kTmpfsRoot:
    case OpCode::kMkdir:
    case OpCode::kSymlink:
    case OpCode::kFile:
    case OpCode::kCopy:
    case OpCode::kBind:
    case OpCode::kScratch:
    case OpCode::kPrivate:
    case OpCode::kShared:
    case OpCode::kHandOn:
    case OpCode::kProc:
    case OpCode::kDevpts:
    case OpCode::kOverlay:
    case OpCode::kMask:
    case OpCode::kHostname:
    case OpCode::kKeyring:
    case OpCode::kIdentity:
      return false;
    default:
      return true;
  }
}

bool Setup::Sysctl(const Operation& op) {
  constexpr char kProc[] = "/proc/";
  const char* path = op.strings[0].data;
  wrote_sysctl_ = true;
  if (strncmp(path, kProc, sizeof kProc - 1) != 0) return Fail("open", path, EINVAL);
  int fd = openat(host_proc_fd_, path + sizeof kProc - 1, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return op.numbers[0] || Fail("open", path, errno);
  ssize_t written = write(fd, op.strings[1].data, op.strings[1].size);
  int error = errno;
  close(fd);
  return written == static_cast<ssize_t>(op.strings[1].size) || Fail("write", path, error);
}

bool Setup::Apply(const Operation& op, int source) {
  const char* first = op.strings[0].data;
  switch (op.code) {
    case OpCode::kTmpfsRoot:
      return TmpfsRoot(op);
    case OpCode::kMkdir:
      return Mkdir(first, static_cast<mode_t>(op.numbers[0]));
    case OpCode::kSymlink:
      return symlink(first, op.strings[1].data) == 0 || errno == EEXIST ||
             Fail("symlink", op.strings[1].data, errno);
    case OpCode::kFile:
      return File(op);
    case OpCode::kCopy:
      return source < 0 || Copy(op, source);
    case OpCode::kBind:
      return Bind(op, source);
    case OpCode::kScratch:
      return Scratch(op);
    case OpCode::kPrivate:
      return Private(op);
    case OpCode::kShared:
      return Shared(op);
    case OpCode::kHandOn:
      return HandOn(first);
    case OpCode::kProc:
      if (!Mkdir(first, 0555)) return false;
      return Attach(source, first);
    case OpCode::kDevpts:
      // No gid=5: the group is not in a single-id map (kernel-notes E3). A maximum: all terminals
      // of the host's namespaces come out of one number.
      if (!Mkdir(first, 0755)) return false;
      return mount("devpts", first, "devpts", MS_NOSUID | MS_NOEXEC,
                   "newinstance,ptmxmode=0666,mode=0620,max=256") == 0 ||
             Fail("mount", first, errno);
    case OpCode::kOverlay:
      return Overlay(op);
    case OpCode::kMask:
      return Mask(first);
    case OpCode::kReadOnly: {
      MountAttr attr{kMountAttrRdonly | kMountAttrNosuid | kMountAttrNodev, 0, 0, 0};
      return MountSetattr(AT_FDCWD, first, op.numbers[0] ? kAtRecursive : 0, &attr) == 0 ||
             Fail("mount_setattr", first, errno);
    }
    case OpCode::kUnmount:
      return umount2(first, MNT_DETACH) == 0 || Fail("umount2", first, errno);
    case OpCode::kSysctl:
      return Sysctl(op);
    case OpCode::kHostname:
      return sethostname(first, op.strings[0].size) == 0 || Fail("sethostname", first, errno);
    case OpCode::kLoopback:
      return Loopback();
    case OpCode::kEgress: {
      const char* call = "";
      int error = RaiseEgress(static_cast<uint16_t>(op.numbers[0]), egress_fds_, &call);
      return error == 0 || Fail(call, "egress", error);
    }
    case OpCode::kKeyring:
      return JoinKeyring() || Fail("keyctl", "", errno);
    case OpCode::kIdentity:
      return Identity(op);
    case OpCode::kCapabilities:
      return Capabilities(op.numbers[0] != 0);
    case OpCode::kRlimit:
      return Rlimit(op);
    case OpCode::kRuleset:
      return Ruleset(op);
    case OpCode::kNetPort: {
      const Layer* target = layer(static_cast<uint32_t>(op.numbers[0]));
      if (target == nullptr) return Fail("landlock_add_rule", "", EINVAL);
      LandlockNetPortAttr attr{op.numbers[1], op.numbers[2]};
      return syscall(kSysLandlockAddRule, target->ruleset_fd, kLandlockRuleNetPort, &attr, 0) ==
                 0 ||
             Fail("landlock_add_rule", "", errno);
    }
    case OpCode::kRestrict: {
      const Layer* target = layer(static_cast<uint32_t>(op.numbers[0]));
      if (target == nullptr) return Fail("landlock_restrict_self", "", EINVAL);
      return syscall(kSysLandlockRestrictSelf, target->ruleset_fd, 0) == 0 ||
             Fail("landlock_restrict_self", "", errno);
    }
    case OpCode::kSeccomp:
      return Seccomp(op);
    case OpCode::kNoNewPrivs:
      return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 || Fail("prctl", "", errno);
    case OpCode::kUndumpable:
      return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 || Fail("prctl", "", errno);
    case OpCode::kLimits:
      limits_.memory_bytes = op.numbers[0];
      limits_.processes = op.numbers[1];
      limits_.cpu_us = op.numbers[2];
      limits_.open_files = op.numbers[3];
      limits_.tmp = op.numbers[4] != 0;
      limits_.tmp_path = first;  // the program stays mapped
      return true;
    case OpCode::kCanaries:
      return Canaries();
    case OpCode::kVerify: {
      failure_.wall = static_cast<uint16_t>(op.numbers[0]);
      uint64_t behind = op.number_count > 1 ? op.numbers[1] : 0;
      uint64_t beside = op.number_count > 2 ? op.numbers[2] : 0;
      VerifyContext context{message_,
                            op,
                            abstract_fd_,
                            outsider_,
                            behind < kMaxLayers ? layers_[behind].ruleset_fd : -1,
                            beside != 0 && beside < kMaxLayers ? layers_[beside].ruleset_fd : -1};
      const char* what = "";
      int error = Verify(context, &what);
      if (error < 0 && op.numbers[0] == static_cast<uint64_t>(Wall::kLandlockSignal))
        holds_signals_ = true;
      if (error < 0) return true;
      return Fail(what, op.string_count > 0 ? first : "", error);
    }
    default:
      return Fail("program", "", EINVAL);
  }
}

bool Setup::TmpfsRoot(const Operation& op) {
  // Started by root and without a namespace of our own, what follows would take the host's root
  // away.
  struct stat ours;
  if (stat("/proc/self/ns/mnt", &ours) != 0) return Fail("stat", "/proc/self/ns/mnt", errno);
  if (ours.st_ino == message_.host_ns[static_cast<uint64_t>(Wall::kMountNamespace)])
    return Fail("pivot_root", "the launcher's mount namespace", EPERM);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return Fail("mount", "/", errno);
  int root = MakeMount("tmpfs", &op.numbers[0], &op.numbers[1], "0755",
                       kMountAttrNosuid | kMountAttrNodev);
  if (root < 0) return Fail("fsmount", "tmpfs", errno);
  const char* places[] = {"/tmp", "/proc", "/usr", "/etc"};
  int attached = -1;
  for (const char* place : places) {
    old_place_ = place + 1;
    attached = MoveMount(root, "", AT_FDCWD, place, kMoveMountFEmptyPath);
    if (attached == 0) break;
  }
  if (attached != 0) return Fail("move_mount", "/tmp", errno);
  old_root_fd_ = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (old_root_fd_ < 0) return Fail("open", "/", errno);
  // pivot_root(2), "pivot_root(".", ".")": the old root is stacked under the new one and detached,
  // no folder needed.
  if (fchdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0)
    return Fail("pivot_root", "/", errno);
  if (chdir("/") != 0) return Fail("chdir", "/", errno);
  close(root);
  return true;
}

// Until now the old root lay on the new one, out of sight: a path from the root starts below it.
// Detaching it waits for an RCU grace period, and so for the other CPU, which is busy in the kernel
// while the network namespace is made.
bool Setup::DetachOldRoot() {
  if (old_root_fd_ < 0) return true;
  close(old_root_fd_);
  old_root_fd_ = -1;
  if (scratch_fd_ >= 0) close(scratch_fd_);
  scratch_fd_ = -1;
  return umount2(".", MNT_DETACH) == 0 || Fail("umount2", "/", errno);
}

// mkdir -p; what exists is left alone, a link is followed.
bool Setup::Mkdir(const char* path, mode_t mode) {
  if (mkdir(path, mode) == 0 || errno == EEXIST) return true;
  if (errno != ENOENT) return Fail("mkdir", path, errno);
  char partial[4096];
  if (snprintf(partial, sizeof partial, "%s", path) >= static_cast<int>(sizeof partial))
    return Fail("mkdir", path, ENAMETOOLONG);
  for (char* slash = strchr(partial + 1, '/'); slash != nullptr; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(partial, 0755) != 0 && errno != EEXIST) return Fail("mkdir", partial, errno);
    *slash = '/';
  }
  return mkdir(path, mode) == 0 || errno == EEXIST || Fail("mkdir", path, errno);
}

bool Setup::File(const Operation& op) {
  const char* path = op.strings[0].data;
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                static_cast<mode_t>(op.numbers[0]));
  if (fd < 0) return Fail("open", path, errno);
  ssize_t written = write(fd, op.strings[1].data, op.strings[1].size);
  int error = errno;
  close(fd);
  return written == static_cast<ssize_t>(op.strings[1].size) || Fail("write", path, error);
}

// What a bind would show, for a fifth of its price: a mount costs again when it is taken down.
bool Setup::Copy(const Operation& op, int source) {
  const char* path = op.strings[1].data;
  struct stat status;
  if (fstat(source, &status) != 0) return Fail("fstat", op.strings[0].data, errno);
  if (!S_ISREG(status.st_mode)) {
    close(source);
    return true;
  }
  constexpr int kHow = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
  int fd = open(path, kHow, static_cast<mode_t>(op.numbers[0]));
  if (fd < 0 && errno == ENOENT) {
    if (!MakeParent(path)) return false;
    fd = open(path, kHow, static_cast<mode_t>(op.numbers[0]));
  }
  if (fd < 0) return Fail("open", path, errno);
  static char buffer[64 * 1024];
  for (off_t left = status.st_size; left > 0;) {
    ssize_t size = read(source, buffer, sizeof buffer);
    if (size < 0) return Fail("read", op.strings[0].data, errno);
    if (size == 0) break;
    if (write(fd, buffer, static_cast<size_t>(size)) != size) return Fail("write", path, errno);
    left -= size;
  }
  close(fd);
  close(source);
  return true;
}

bool Setup::MakeParent(const char* path) {
  char parent[4096];
  if (snprintf(parent, sizeof parent, "%s", path) >= static_cast<int>(sizeof parent))
    return Fail("mkdir", path, ENAMETOOLONG);
  char* slash = strrchr(parent, '/');
  if (slash == nullptr || slash == parent) return true;
  *slash = 0;
  return Mkdir(parent, 0755);
}

bool Setup::Bind(const Operation& op, int source) {
  uint64_t flags = op.numbers[0];
  auto has = [flags](BindFlag flag) { return (flags & static_cast<uint64_t>(flag)) != 0; };
  const char* path = op.strings[1].data;
  if (source < 0 && has(BindFlag::kBeforePivot)) return true;  // optional and absent
  if (source < 0) {
    source = OpenTree(
        AT_FDCWD, op.strings[0].data,
        kOpenTreeClone | kOpenTreeCloexec | (has(BindFlag::kRecursive) ? kAtRecursive : 0));
    if (source < 0)
      return (has(BindFlag::kOptional) && errno == ENOENT) ||
             Fail("open_tree", op.strings[0].data, errno);
  }
  // Only adds: a remount that dropped a locked nosuid or nodev would be EPERM (kernel-notes E3).
  uint64_t attributes = kMountAttrNosuid;
  if (has(BindFlag::kReadOnly)) attributes |= kMountAttrRdonly;
  if (has(BindFlag::kNoExec)) attributes |= kMountAttrNoexec;
  if (!has(BindFlag::kDevice)) attributes |= kMountAttrNodev;
  MountAttr attr{attributes, 0, 0, 0};
  unsigned at_flags = AT_EMPTY_PATH | (has(BindFlag::kRecursive) ? kAtRecursive : 0);
  if (MountSetattr(source, "", at_flags, &attr) != 0) return Fail("mount_setattr", path, errno);
  if (has(BindFlag::kMakeTarget)) {
    struct stat status;
    if (fstat(source, &status) != 0) return Fail("fstat", op.strings[0].data, errno);
    if (S_ISDIR(status.st_mode)) {
      if (!Mkdir(path, 0755)) return false;
    } else if (mknod(path, S_IFREG | 0644, 0) != 0 && errno == ENOENT) {
      if (!MakeParent(path)) return false;
      mknod(path, S_IFREG | 0644, 0);  // when it fails, move_mount says what is wrong
    }
  }
  return Attach(source, path);
}

// A tree that is mounted nowhere yet; takes the descriptor over.
bool Setup::Attach(int tree, const char* path) {
  int error = MoveMount(tree, "", AT_FDCWD, path, kMoveMountFEmptyPath) == 0 ? 0 : errno;
  close(tree);
  return error == 0 || Fail("move_mount", path, error);
}

// Mounted in the old root, and detached with it: a detachment of its own would wait for a grace
// period of its own. Before Linux 6.15 nothing can be cloned from what is mounted nowhere.
bool Setup::Scratch(const Operation& op) {
  scratch_fd_ = MakeMount("tmpfs", &op.numbers[0], &op.numbers[1], "0755",
                          kMountAttrNosuid | kMountAttrNodev);
  if (scratch_fd_ < 0) return Fail("fsmount", "tmpfs", errno);
  return MoveMount(scratch_fd_, "", old_root_fd_, old_place_, kMoveMountFEmptyPath) == 0 ||
         Fail("move_mount", old_place_, errno);
}

bool Setup::Shared(const Operation& op) {
  const char* path = op.strings[0].data;
  auto extra = static_cast<int64_t>(op.numbers[2]);
  if (extra >= extra_count_) return Fail("descriptor", path, EBADF);
  int tree = extra >= 0 ? extra_fds_[extra]
                        : MakeMount("tmpfs", &op.numbers[0], &op.numbers[1], "0755",
                                    kMountAttrNosuid | kMountAttrNodev);
  if (tree < 0) return Fail("fsmount", path, errno);
  return Mkdir(path, 0755) && Attach(tree, path);
}

// Read-only before anybody has it, and so in every copy. Whoever is handed it has it in a mount
// namespace of another user namespace, where its flags are locked (mount_namespaces(7)).
bool Setup::HandOn(const char* path) {
  MountAttr attr{kMountAttrRdonly | kMountAttrNosuid | kMountAttrNodev, 0, 0, 0};
  if (MountSetattr(AT_FDCWD, path, 0, &attr) != 0) return Fail("mount_setattr", path, errno);
  handed_fd_ = OpenTree(AT_FDCWD, path, kOpenTreeClone | kOpenTreeCloexec | kAtRecursive);
  return handed_fd_ >= 0 || Fail("open_tree", path, errno);
}

bool Setup::Private(const Operation& op) {
  const char* path = op.strings[1].data;
  return Mkdir(path, 0755) &&
         ShowScratch(op.strings[0].data, static_cast<mode_t>(op.numbers[0]), 0, path);
}

bool Setup::ShowScratch(const char* name, mode_t mode, uint64_t attributes, const char* path) {
  if (mkdirat(scratch_fd_, name, mode) != 0 && errno != EEXIST) return Fail("mkdir", name, errno);
  int tree = OpenTree(scratch_fd_, name, kOpenTreeClone | kOpenTreeCloexec);
  if (tree < 0) return Fail("open_tree", name, errno);
  MountAttr attr{attributes, 0, 0, 0};
  if (attributes == 0 || MountSetattr(tree, "", AT_EMPTY_PATH, &attr) == 0)
    return Attach(tree, path);
  int error = errno;
  close(tree);
  return Fail("mount_setattr", path, error);
}

bool Setup::Overlay(const Operation& op) {
  // The three folders are mount points of our own making, so the option string needs no escapes.
  char options[4096];
  snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s,userxattr",
           op.strings[0].data, op.strings[1].data, op.strings[2].data);
  const char* path = op.strings[3].data;
  if (!Mkdir(path, 0755)) return false;
  return mount("overlay", path, "overlay", MS_NOSUID | MS_NODEV, options) == 0 ||
         Fail("mount", path, errno);
}

bool Setup::Mask(const char* path) {
  struct stat status;
  if (stat(path, &status) != 0)
    return errno == ENOENT || errno == EACCES || Fail("stat", path, errno);
  if (S_ISDIR(status.st_mode)) return ShowScratch("empty", 0555, kMountAttrRdonly, path);
  return mount("/dev/null", path, nullptr, MS_BIND, nullptr) == 0 || Fail("mount", path, errno);
}

bool Setup::Loopback() {
  int error = 0;
  if (!HasLoopback()) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return Fail("socket", "lo", errno);
    ifreq request{};
    snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    error = ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : errno;
    close(fd);
  }
  // For the broker, which asks it whose a listener is; where the kernel has no such thing, it looks
  // after it has connected.
  sockets_fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  return error == 0 || Fail("ioctl", "lo", error);
}

bool Setup::Identity(const Operation& op) {
  auto uid = static_cast<uid_t>(op.numbers[0]);
  auto gid = static_cast<gid_t>(op.numbers[1]);
  // The mounts that follow still need the namespace's capabilities; Capabilities() takes them all.
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return Fail("prctl", "", errno);
  if (op.numbers[2] && syscall(SYS_setgroups, 0, nullptr) != 0) return Fail("setgroups", "", errno);
  if (syscall(SYS_setresgid, gid, gid, gid) != 0) return Fail("setresgid", "", errno);
  if (syscall(SYS_setresuid, uid, uid, uid) != 0) return Fail("setresuid", "", errno);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return Fail("capget", "", errno);
  data[0].effective = data[0].permitted;
  data[1].effective = data[1].permitted;
  if (syscall(SYS_capset, &header, data) != 0) return Fail("capset", "", errno);
  return DieWithLauncher() || Fail("prctl", "", errno);
}

bool Setup::Capabilities(bool bounding) {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return Fail("prctl", "ambient", errno);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  // An ordinary user without a namespace has none to give up, and may not shrink what an exec could
  // have: that is no_new_privs's to hold.
  if (!bounding) return syscall(SYS_capset, &header, data) == 0 || Fail("capset", "", errno);
  for (int capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL && capability > 0) break;  // past the kernel's last one
    return Fail("prctl", "bounding", errno);
  }
  constexpr unsigned long kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (prctl(PR_SET_SECUREBITS, kBits, 0, 0, 0) != 0) return Fail("prctl", "securebits", errno);
  if (syscall(SYS_capset, &header, data) != 0) return Fail("capset", "", errno);
  return DieWithLauncher() || Fail("prctl", "", errno);
}

bool Setup::Rlimit(const Operation& op) {
  if (rlimit_count_ >= kMaxRlimits) return Fail("rlimit", "", E2BIG);
  auto resource = static_cast<int>(op.numbers[0]);
  rlimit64 now{};
  if (syscall(SYS_prlimit64, 0, resource, nullptr, &now) != 0) return Fail("prlimit64", "", errno);
  // A hard limit that we were started with cannot be raised again (getrlimit(2)).
  rlimit64 wanted{op.numbers[1], op.numbers[2]};
  if (wanted.rlim_max > now.rlim_max) wanted.rlim_max = now.rlim_max;
  // Descriptors on their way through sockets are counted for all of a user's processes against the
  // limit of the one that sends (unix(7), ETOOMANYREFS): the launcher's must not be reached by us.
  if (resource == RLIMIT_NOFILE && now.rlim_max != RLIM_INFINITY) {
    rlim64_t most = now.rlim_max - (now.rlim_max < 8192 ? now.rlim_max / 8 : 1024);
    if (wanted.rlim_max > most) wanted.rlim_max = most;
  }
  if (wanted.rlim_cur > wanted.rlim_max) wanted.rlim_cur = wanted.rlim_max;
  rlimits_[rlimit_count_++] = {resource, wanted};
  return true;
}

bool Setup::Ruleset(const Operation& op) {
  auto id = static_cast<uint32_t>(op.numbers[0]);
  if (id >= kMaxLayers) return Fail("landlock_create_ruleset", "", EINVAL);
  LandlockRulesetAttr attr{op.numbers[1], op.numbers[2], op.numbers[3]};
  // Older kernels refuse a structure longer than they know unless the rest is zero (landlock(7));
  // the plan leaves what this kernel lacks at zero.
  size_t size = attr.scoped ? 24 : attr.handled_access_net ? 16 : 8;
  int fd = static_cast<int>(syscall(kSysLandlockCreateRuleset, &attr, size, 0));
  if (fd < 0) return Fail("landlock_create_ruleset", "", errno);
  for (int i = 4; i + 1 < op.number_count; i += 2) {
    uint64_t access = op.numbers[i];
    const char* path = op.strings[op.numbers[i + 1]].data;
    int beneath = open(path, O_PATH | O_CLOEXEC);
    if (beneath < 0) {
      if (errno == ENOENT)
        continue;  // an optional grant; a missing one of another kind was refused when bound
      return Fail("open", path, errno);
    }
    struct stat status;
    if (fstat(beneath, &status) != 0) return Fail("fstat", path, errno);
    // A rule on a file may hold only rights that files have, else EINVAL.
    if (!S_ISDIR(status.st_mode)) access &= kFileRights;
    LandlockPathBeneathAttr rule{access, beneath};
    int error =
        access == 0 || syscall(kSysLandlockAddRule, fd, kLandlockRulePathBeneath, &rule, 0) == 0
            ? 0
            : errno;
    close(beneath);
    if (error != 0) return Fail("landlock_add_rule", path, error);
  }
  layers_[id].ruleset_fd = fd;
  return true;
}

bool Setup::Seccomp(const Operation& op) {
  auto id = op.numbers[0];
  const Text& program = op.strings[0];
  if (id >= kMaxLayers || program.size % sizeof(sock_filter) != 0)
    return Fail("seccomp", "", EINVAL);
  // The set-up program stays mapped, and holds it at a multiple of 4 as struct sock_filter wants.
  const auto length = static_cast<uint16_t>(program.size / sizeof(sock_filter));
  if (id != 0) {
    layers_[id].filter = program.data;
    layers_[id].filter_length = length;
    return true;
  }
  sock_fprog filter{length, reinterpret_cast<sock_filter*>(const_cast<char*>(program.data))};
  // WAIT_KILLABLE_RECV (5.19): else a caller's timer signals can restart a notified call for ever
  // (kernel-notes B2).
  long fd = syscall(SYS_seccomp, kSeccompSetModeFilter,
                    kSeccompFilterFlagNewListener | kSeccompFilterFlagWaitKillableRecv, &filter);
  if (fd < 0 && errno == EINVAL)
    fd = syscall(SYS_seccomp, kSeccompSetModeFilter, kSeccompFilterFlagNewListener, &filter);
  if (fd < 0) return Fail("seccomp", "", errno);
  listener_fd_ = static_cast<int>(fd);
  return true;
}

// What is made before the Landlock layer, which must keep us from it afterwards: an abstract
// socket, of a name that the kernel chooses, and where we are not pid 1, the target of signals, a
// process.
bool Setup::Canaries() {
  abstract_fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (abstract_fd_ < 0) return Fail("socket", "", errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (bind(abstract_fd_, reinterpret_cast<sockaddr*>(&address), sizeof address.sun_family) != 0 ||
      listen(abstract_fd_, 1) != 0)
    return Fail("bind", "", errno);
  if (HasOwnPids()) return true;
  int line[2];
  if (pipe2(line, O_CLOEXEC) != 0) return Fail("pipe2", "", errno);
  outsider_ = fork();
  if (outsider_ < 0) return Fail("fork", "", errno);
  if (outsider_ == 0) {
    close(line[1]);
    char byte;
    while (read(line[0], &byte, 1) < 0 && errno == EINTR) {
    }
    _exit(0);
  }
  close(line[0]);
  outsider_line_ = line[1];
  return true;
}

bool HasOwnPids() { return getpid() == 1; }

bool DieWithLauncher() { return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0; }

bool OutliveLauncher() { return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) == 0; }

void Setup::KillAll() const {
  // To kill(2), -1 is every process that we may signal: those of the pid namespace, or where there
  // is none, those of our Landlock domain, once that was seen to hold. One call leaves nobody out:
  // who is about to fork sees the signal first (kernel/fork.c).
  if (HasOwnPids() || holds_signals_) kill(-1, SIGKILL);
}

void Setup::EndAll() const {
  if (HasOwnPids()) return;
  // Subreaper: whose parent ends is our child.
  do KillAll();
  while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR);
}

}  // namespace holdfast
