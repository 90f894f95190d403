#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include "fdpass.h"
#include "idmap.h"
#include "kernel.h"
#include "threads.h"
#include "wire.h"

extern "C" {
extern const unsigned char holdfast_init_image_start[] __attribute__((visibility("hidden")));
extern const unsigned char holdfast_init_image_end[] __attribute__((visibility("hidden")));
}

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace holdfast {

namespace {

constexpr size_t kStackSize = 64 * 1024;
constexpr int kMaxInherited = kFirstExtraFd;

struct ChildPlan {
  int image;
  int control;
  int events;
  int null;
  bool ambient;
  const char* mode;  // argv[1], or null
  volatile int error;
};

// Between clone and exec, in the launcher's memory: system calls only.
int Child(void* pointer) {
  auto* plan = static_cast<ChildPlan*>(pointer);
  if (plan->ambient) {
    // The exec of an unmapped uid would drop the new namespace's capabilities; ambient ones stay
    // (capabilities(7)).
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (syscall(SYS_capget, &header, data) == 0) {
      data[0].inheritable = data[0].permitted;
      data[1].inheritable = data[1].permitted;
      syscall(SYS_capset, &header, data);
      // Those that the set-up uses: ids, mounts, the bounding set, the network; and those with
      // which an overlay works in its mounter's name for as long as it is mounted.
      constexpr unsigned long kUsed[] = {
          CAP_CHOWN,     CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,           CAP_FSETID,
          CAP_SETGID,    CAP_SETUID,       CAP_SETPCAP,         CAP_NET_BIND_SERVICE, CAP_NET_ADMIN,
          CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_MKNOD,           CAP_SETFCAP};
      for (unsigned long capability : kUsed)
        syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
    }
  }
  int high[4] = {plan->image, plan->control, plan->events, plan->null};
  // First out of the way of 0 to 4, then into place.
  for (int& fd : high) {
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    if (fd < 0) goto failed;
  }
  for (int i = 0; i < 3; i++)
    if (dup2(high[3], i) < 0) goto failed;
  if (dup2(high[1], kControlFd) < 0 || dup2(high[2], kEventsFd) < 0) goto failed;
  if (CloseRange(kMaxInherited, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) != 0) {
    for (int fd = kMaxInherited; fd < 65536; fd++)
      fcntl(fd, F_SETFD, FD_CLOEXEC);  // before Linux 5.11
  }
  {
    char name[] = "holdfast-init";
    char* const argv[] = {name, const_cast<char*>(plan->mode), nullptr};
    char* const envp[] = {nullptr};
    syscall(SYS_execveat, high[0], "", argv, envp, AT_EMPTY_PATH);
  }
failed:
  plan->error = errno;
  _exit(127);
}

Status WriteFileText(const std::string& path, const std::string& text) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.Valid()) return Status::Failed("namespace", "open", errno, path);
  if (write(fd.Get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return Status::Failed("namespace", "write", errno, path);
  return Status::Fine();
}

class LauncherThread {
 public:
  void Post(std::function<void()> work) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!started_) {
      std::thread([this] { Run(); }).detach();
      started_ = true;
    }
    queue_.push_back(std::move(work));
    wake_.notify_one();
  }

 private:
  [[noreturn]] void Run() {
    BlockSignals();
    pthread_setname_np(pthread_self(), "holdfast");
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool started_ = false;
};

// Never destroyed: the thread outlives every static of the process.
LauncherThread& Thread() {
  static auto* thread = new LauncherThread;
  return *thread;
}

void* ChildStack() {
  // Only the launcher thread clones, one child at a time.
  static void* stack = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  return stack;
}

// The init's program with `control` and `second` as its descriptors 3 and 4.
Status CloneProgram(uint64_t flags, const char* mode, const std::string& init_file, int control,
                    int second, int* pid, UniqueFd* pidfd) {
  int image;
  Status opened = OpenInitImage(init_file, &image);
  if (!opened.Ok()) return opened;
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.Valid()) return Status::Failed("clone", "open", errno, "/dev/null");
  ChildPlan plan{image, control, second, null.Get(), (flags & CLONE_NEWUSER) != 0, mode, 0};
  int pidfd_number = -1;
  // exit signal 0: libuv's and other people's waits never see this child; we wait by pidfd with
  // __WALL.
  int child =
      clone(Child, static_cast<char*>(ChildStack()) + kStackSize,
            static_cast<int>(flags) | CLONE_VM | CLONE_VFORK | CLONE_PIDFD, &plan, &pidfd_number);
  if (child < 0) return Status::Failed("clone", "clone", errno);
  pidfd->Reset(pidfd_number);
  if (plan.error != 0) {
    WaitForInit(pidfd->Get());
    return Status::Failed("clone", "execveat", plan.error);
  }
  *pid = child;
  return Status::Fine();
}

void ReadNamespaces(uint64_t (&inodes)[kMaxWalls]) {
  constexpr struct {
    Wall wall;
    const char* file;
  } kNamespaces[] = {
      {Wall::kUserNamespace,    "/proc/self/ns/user"  },
      {Wall::kMountNamespace,   "/proc/self/ns/mnt"   },
      {Wall::kPidNamespace,     "/proc/self/ns/pid"   },
      {Wall::kNetworkNamespace, "/proc/self/ns/net"   },
      {Wall::kIpcNamespace,     "/proc/self/ns/ipc"   },
      {Wall::kUtsNamespace,     "/proc/self/ns/uts"   },
      {Wall::kCgroupNamespace,  "/proc/self/ns/cgroup"},
  };
  for (const auto& item : kNamespaces) {
    struct stat status;
    if (stat(item.file, &status) == 0) inodes[static_cast<uint64_t>(item.wall)] = status.st_ino;
  }
}

Status SendSetup(const LaunchRequest& request, const std::vector<UniqueFd>& extra,
                 const Launched& launched) {
  UniqueFd program(memfd_create("holdfast-program", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!program.Valid()) return Status::Failed("clone", "memfd_create", errno);
  if (write(program.Get(), request.program.data(), request.program.size()) !=
      static_cast<ssize_t>(request.program.size()))
    return Status::Failed("clone", "write", errno);
  fcntl(program.Get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  SetupMessage message{};
  message.type = MessageType::kSetup;
  message.size = static_cast<uint32_t>(request.program.size());
  message.launcher_pid = getpid();
  // Here and not with the clone, whose thread keeps the init waiting.
  ReadNamespaces(message.host_ns);
  std::vector<int> fds{program.Get()};
  for (const UniqueFd& fd : extra) fds.push_back(fd.Get());
  if (request.handed.Valid()) fds.push_back(request.handed.Get());
  message.memory_limit = request.memory_limit;
  UniqueFd counters[kCgroupEventFiles];
  for (int i = 0; i < kCgroupEventFiles; i++) {
    const std::string& path = request.cgroup_events[i];
    if (path.empty()) continue;
    counters[i].Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!counters[i].Valid()) return Status::Failed("limits", "open", errno, path);
    fds.push_back(counters[i].Get());
    message.cgroup_events |= 1u << i;
  }
  int error = SendPacket(launched.control.Get(), &message, sizeof message, fds.data(),
                         static_cast<int>(fds.size()), 0);
  return error == 0 ? Status::Fine() : Status::Failed("clone", "sendmsg", error);
}

Status Begin(uint64_t clone_flags, const std::string& init_file, Launched* begun) {
  int control[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0)
    return Status::Failed("clone", "socketpair", errno);
  begun->control.Reset(control[0]);
  UniqueFd their_control(control[1]);
  int events[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, events) != 0)
    return Status::Failed("clone", "socketpair", errno);
  begun->events.Reset(events[0]);
  UniqueFd their_events(events[1]);
  // The network namespace takes as long to make as the rest of the init's start: the init makes it
  // beside its mounts. It needs a user namespace for that, in which the init may.
  bool apart = (clone_flags & CLONE_NEWNET) && (clone_flags & CLONE_NEWUSER);
  Status status =
      CloneProgram(apart ? clone_flags & ~static_cast<uint64_t>(CLONE_NEWNET) : clone_flags,
                   apart ? "network" : nullptr, init_file, their_control.Get(), their_events.Get(),
                   &begun->pid, &begun->pidfd);
  return status;
}

// Ends an init that is not wanted any more, and waits until it is gone.
void Abandon(Launched* begun) {
  if (begun->pid < 0) return;
  begun->control.Reset(-1);
  syscall(SYS_pidfd_send_signal, begun->pidfd.Get(), SIGKILL, nullptr, 0);
  WaitForInit(begun->pidfd.Get());
  *begun = Launched{};
}

// Inits that were begun before their plans were made.
struct BegunInit {
  uint64_t clone_flags = 0;
  bool done = false;
  Status status = Status::Fine();
  Launched launched;
};

struct BegunInits {
  std::mutex mutex;
  std::map<uint32_t, BegunInit> begun;
  uint32_t next = 1;
};

BegunInits& Inits() {
  static auto* inits = new BegunInits;
  return *inits;
}

}  // namespace

void OnLauncherThread(const std::function<void()>& work) { Thread().Post(work); }

void OnOwnThread(const std::function<void()>& work) {
  static auto* threads = new KeptThreads("holdfast-wait");
  if (!threads->Post(work)) OnLauncherThread(work);
}

Status OpenInitImage(const std::string& init_file, int* fd) {
  static int image = -1;
  if (image >= 0) {
    *fd = image;
    return Status::Fine();
  }
  auto size = static_cast<size_t>(holdfast_init_image_end - holdfast_init_image_start);
  // MFD_EXEC asks for what is the default unless vm.memfd_noexec says otherwise; kernels before 6.3
  // answer EINVAL.
  int made = memfd_create("holdfast-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (made < 0 && errno == EINVAL)
    made = memfd_create("holdfast-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (made >= 0 && write(made, holdfast_init_image_start, size) == static_cast<ssize_t>(size)) {
    fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    image = made;
    *fd = image;
    return Status::Fine();
  }
  if (made >= 0) close(made);
  // vm.memfd_noexec=2: the package's own file, opened once and compared byte for byte with what was
  // built in.
  UniqueFd file(open(init_file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.Valid()) return Status::Failed("clone", "open", errno, init_file);
  struct stat status;
  if (fstat(file.Get(), &status) != 0) return Status::Failed("clone", "fstat", errno, init_file);
  void* bytes = MAP_FAILED;
  if (static_cast<size_t>(status.st_size) == size)
    bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.Get(), 0);
  bool same = bytes != MAP_FAILED && memcmp(bytes, holdfast_init_image_start, size) == 0;
  if (bytes != MAP_FAILED) munmap(bytes, size);
  if (!same) return Status::Failed("clone", "compare", EBADMSG, init_file);
  image = file.Release();
  *fd = image;
  return Status::Fine();
}

uint32_t BeginLater(uint64_t clone_flags, const std::string& init_file) {
  uint32_t handle;
  {
    std::lock_guard<std::mutex> lock(Inits().mutex);
    handle = Inits().next++;
    Inits().begun[handle].clone_flags = clone_flags;
  }
  OnLauncherThread([handle, clone_flags, init_file] {
    Launched launched;
    Status status = Begin(clone_flags, init_file, &launched);
    std::lock_guard<std::mutex> lock(Inits().mutex);
    BegunInit& begun = Inits().begun[handle];
    begun.launched = std::move(launched);
    begun.status = status;
    begun.done = true;
  });
  return handle;
}

void AbandonBegun(uint32_t handle) {
  OnLauncherThread([handle] {
    Launched launched;
    Status status = Status::Fine();
    if (TakeBegun(handle, 0, &launched, &status)) Abandon(&launched);
  });
}

bool TakeBegun(uint32_t handle, uint64_t clone_flags, Launched* launched, Status* status) {
  Launched taken;
  uint64_t flags;
  {
    std::lock_guard<std::mutex> lock(Inits().mutex);
    auto found = Inits().begun.find(handle);
    if (found == Inits().begun.end()) return true;
    if (!found->second.done) return false;
    taken = std::move(found->second.launched);
    flags = found->second.clone_flags;
    *status = found->second.status;
    Inits().begun.erase(found);
  }
  if (flags == clone_flags) {
    *launched = std::move(taken);
  } else {
    *status = Status::Fine();
    Abandon(&taken);
  }
  return true;
}

bool CanSetUpAnywhere(const LaunchRequest& request) {
  for (const LaunchRequest::IdMapped& tree : request.id_mapped)
    if (!IsMapKnown(tree.uid_map, tree.gid_map)) return false;
  return true;
}

Status SetUp(const LaunchRequest& request, Launched* launched) {
  Status status =
      launched->pid < 0 ? Begin(request.clone_flags, request.init_file, launched) : Status::Fine();
  if (!status.Ok()) return status;
  std::string folder = "/proc/" + std::to_string(launched->pid);
  auto give_up = [&](Status why) {
    Abandon(launched);
    return why;
  };
  std::vector<UniqueFd> extra;
  for (const LaunchRequest::IdMapped& tree : request.id_mapped) {
    UniqueFd fd;
    status = CloneIdMapped(tree.source, tree.recursive, tree.uid_map, tree.gid_map, &fd);
    if (!status.Ok()) return give_up(status);
    extra.push_back(std::move(fd));
  }
  for (const std::string& procs : request.cgroup_procs) {
    status = WriteFileText(procs, std::to_string(launched->pid));
    if (!status.Ok()) {
      status.step = "limits";
      return give_up(status);
    }
  }
  if (!request.uid_map.empty()) {
    if (request.deny_setgroups) {
      status = WriteFileText(folder + "/setgroups", "deny");
      if (!status.Ok()) return give_up(status);
    }
    status = WriteFileText(folder + "/uid_map", request.uid_map);
    if (!status.Ok()) return give_up(status);
    status = WriteFileText(folder + "/gid_map", request.gid_map);
    if (!status.Ok()) return give_up(status);
  }
  status = SendSetup(request, extra, *launched);
  return status.Ok() ? status : give_up(status);
}

Status TakeReady(int control, UniqueFd (&given)[kReadyFds]) {
  FailedMessage message{};
  int fds[kReadyFds];
  int fd_count = kReadyFds;
  ssize_t size = ReceivePacket(control, &message, sizeof message, fds, &fd_count, MSG_DONTWAIT);
  if (size >= static_cast<ssize_t>(sizeof(ReadyMessage)) && message.type == MessageType::kReady) {
    ReadyMessage ready;
    memcpy(&ready, &message, sizeof ready);
    for (int i = 0, next = 0; i < kReadyFds && next < fd_count; i++)
      if (ready.given & 1u << i) given[i].Reset(fds[next++]);
    return Status::Fine();
  }
  for (int i = 0; i < fd_count; i++) close(fds[i]);
  if (size != static_cast<ssize_t>(sizeof message) || message.type != MessageType::kFailed)
    return Status::Failed("clone", "init", EPIPE);
  message.syscall[sizeof message.syscall - 1] = 0;
  message.path[sizeof message.path - 1] = 0;
  bool verify = message.code == static_cast<uint16_t>(OpCode::kVerify);
  Status status =
      Status::Failed(verify ? "verify" : "setup", message.syscall, message.error, message.path);
  if (verify) {
    status.wall = message.wall;
  } else {
    status.wall = message.code;
  }
  return status;
}

Status StartReaper(const std::string& init_file, UniqueFd* list) {
  UniqueFd self(PidfdOpen(getpid(), 0));
  if (!self.Valid()) return Status::Failed("clone", "pidfd_open", errno);
  UniqueFd memfd(memfd_create("holdfast-leftovers", MFD_CLOEXEC));
  if (!memfd.Valid()) return Status::Failed("clone", "memfd_create", errno);
  int pid = -1;
  UniqueFd pidfd;
  Status status = CloneProgram(0, "reaper", init_file, memfd.Get(), self.Get(), &pid, &pidfd);
  if (status.Ok()) *list = std::move(memfd);
  return status;
}

int WaitForInit(int pidfd) {
  siginfo_t information{};
  for (;;) {
    if (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &information,
               WEXITED | __WALL) == 0)
      return information.si_status;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace holdfast
