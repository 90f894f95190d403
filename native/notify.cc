#include "notify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>

#include "caller.h"
#include "connects.h"
#include "exits.h"
#include "flows.h"
#include "foreign_code.h"
#include "lookups.h"
#include "made_sockets.h"
#include "metadata.h"
#include "servers.h"
#include "sessions.h"
#include "threads.h"

namespace holdfast {

namespace {

constexpr size_t kMostLimits = 256;  // a sandbox

bool LooksAtCode(const std::vector<NotifyRule>& rules) {
  for (const NotifyRule& rule : rules)
    if (rule.answer == Answer::kMappedCode) return true;
  return false;
}

bool MakesSockets(const std::vector<NotifyRule>& rules) {
  for (const NotifyRule& rule : rules)
    if (rule.answer == Answer::kMakeSocket) return true;
  return false;
}

bool IsLinger(const seccomp_data& call) {
  return static_cast<int>(call.args[1]) == SOL_SOCKET &&
         static_cast<int>(call.args[2]) == SO_LINGER;
}

class Sandbox {
 public:
  Sandbox(UniqueFd listener, UniqueFd sockets, UniqueFd carried, int init_pid,
          const std::vector<NotifyRule>& rules, const std::shared_ptr<const Territory>& territory,
          const std::shared_ptr<const OwnFiles>& own)
      : calls_(std::make_shared<NotifiedCalls>(std::move(listener))),
        made_(territory == nullptr || !MakesSockets(rules)
                  ? nullptr
                  : std::make_shared<MadeSockets>(calls_, territory)),
        servers_(territory == nullptr ? nullptr
                                      : std::make_shared<Servers>(calls_, made_, territory)),
        metadata_(territory == nullptr ? nullptr : std::make_unique<Metadata>(calls_, territory)),
        lookups_(territory == nullptr ? nullptr
                                      : std::make_unique<Lookups>(calls_, territory, init_pid)),
        territory_(territory),
        own_(own),
        foreign_(LooksAtCode(rules) ? std::make_shared<ForeignCode>() : nullptr),
        connects_(std::make_shared<Connects>(calls_, foreign_, std::move(sockets),
                                             std::move(carried), init_pid, servers_, made_, own)),
        init_pid_(init_pid),
        sessions_(init_pid) {
    for (const NotifyRule& rule : rules) {
      rules_[rule.number] = rule;
      if (rule.answer == Answer::kWait && exits_ == nullptr && PidfdTellsExit())
        exits_ = std::make_unique<ExitWatch>();
    }
  }

  void Serve();
  std::vector<DenialRecord> Take() { return calls_->Take(); }
  void OnLimitReached(std::function<void()> changed);
  std::vector<LimitRecord> TakeLimits();
  Flows& flows() { return connects_->flows(); }
  int ConnectServer(int fd, uint16_t port) {
    return servers_ == nullptr ? ECONNREFUSED : servers_->Connect(fd, port);
  }
  void Close();

 private:
  void Handle(const seccomp_notif& notification);
  void TraceOpen(const seccomp_notif& notification, const NotifyRule& rule);
  void NoteRefusal(const seccomp_notif& notification, const std::string& path, int flags);
  void MappedFile(const seccomp_notif& notification, const NotifyRule& rule);
  void NoteCode(const seccomp_notif& notification);
  bool Harvest();
  void CountDescriptors(const seccomp_notif& notification, const NotifyRule& rule);
  void SetLinger(const seccomp_notif& notification);
  bool Reached(LimitKind kind, int32_t session);
  void TellOfLimits();

  const std::shared_ptr<NotifiedCalls> calls_;
  const std::shared_ptr<MadeSockets> made_;   // null where programs' own sockets can be had
  const std::shared_ptr<Servers> servers_;    // null where the sandbox has namespaces,
  const std::unique_ptr<Metadata> metadata_;  // and these
  const std::unique_ptr<Lookups> lookups_;
  const std::shared_ptr<const Territory> territory_;
  const std::shared_ptr<const OwnFiles> own_;
  const std::shared_ptr<ForeignCode> foreign_;
  const std::shared_ptr<Connects> connects_;
  std::map<int, NotifyRule> rules_;
  const int init_pid_;
  Sessions sessions_;
  std::unique_ptr<ExitWatch> exits_;
  std::mutex mutex_;
  std::vector<LimitRecord> limits_;
  std::function<void()> limits_changed_;
};

// A thread a sandbox: a notification can vanish between poll and receive (its caller died), and the
// receive then waits for the next one. That must hold up nobody else's.
void Sandbox::Serve() {
  pthread_setname_np(pthread_self(), "holdfast-broker");
  for (;;) {
    pollfd sources[2] = {
        {calls_->Fd(),                          POLLIN, 0},
        {exits_ == nullptr ? -1 : exits_->Fd(), POLLIN, 0}
    };
    if (poll(sources, 2, -1) < 0 && errno != EINTR) return;
    if (sources[1].revents != 0 && Harvest()) TellOfLimits();
    if ((sources[0].revents & POLLIN) == 0) {
      if (sources[0].revents & (POLLHUP | POLLERR))
        return;  // the last process behind the filter is gone
      continue;
    }
    seccomp_notif notification;
    int error = calls_->Receive(&notification);
    if (error == 0) {
      Handle(notification);
    } else if (error != EINTR && error != ENOENT) {
      return;
    }
  }
}

void Sandbox::Handle(const seccomp_notif& notification) {
  auto found = rules_.find(notification.data.nr);
  if (found == rules_.end()) {
    calls_->Record(notification.data.nr, "");
    calls_->Reply(notification.id, EPERM);
    return;
  }
  switch (found->second.answer) {
    case Answer::kRefuse:
      calls_->Record(notification.data.nr, IsUdpSocket(notification.data) ? "udp" : "");
      calls_->Reply(notification.id, found->second.error);
      break;
    case Answer::kConnect:
      connects_->Dispatch(notification, found->second.error);
      break;
    case Answer::kTraceOpen:
      TraceOpen(notification, found->second);
      break;
    case Answer::kMappedFile:
      MappedFile(notification, found->second);
      break;
    case Answer::kMappedCode:
      NoteCode(notification);
      break;
    case Answer::kWait:
      if (exits_ != nullptr) {
        auto tid = static_cast<int32_t>(notification.pid);
        if (exits_->HoldChildren(tid, sessions_.Of(tid)) && Harvest()) TellOfLimits();
      }
      calls_->GoOn(notification.id);
      break;
    case Answer::kMetadata:
      if (metadata_ == nullptr) return calls_->Reply(notification.id, found->second.error);
      metadata_->Answer(notification, found->second.error);
      break;
    case Answer::kMakeSocket:
      if (made_ == nullptr) return calls_->Reply(notification.id, found->second.error);
      made_->Answer(notification);
      break;
    case Answer::kLookup:
      if (lookups_ == nullptr) return calls_->Reply(notification.id, found->second.error);
      lookups_->Answer(notification, found->second.error);
      break;
    case Answer::kLinger:
      if (!IsLinger(notification.data)) {
        calls_->Record(notification.data.nr, "");
        return calls_->Reply(notification.id, found->second.error);
      }
      SetLinger(notification);
      break;
    case Answer::kServe:
      if (servers_ == nullptr) return calls_->Reply(notification.id, found->second.error);
      servers_->Answer(notification, found->second.error);
      break;
    case Answer::kDescriptor:
      CountDescriptors(notification, found->second);
      calls_->GoOn(notification.id);
      break;
  }
}

// Where a path leads on the host, links followed; empty when nothing is there.
std::string RealPath(const std::string& path) {
  char real[PATH_MAX];
  return realpath(path.c_str(), real) == nullptr ? std::string() : std::string(real);
}

bool IsReadOnly(int fd) {
  struct statvfs view;
  return fstatvfs(fd, &view) == 0 && (view.f_flag & ST_RDONLY) != 0;
}

int OpenFlags(const seccomp_notif& notification, const NotifyRule& rule) {
#ifdef SYS_creat
  if (notification.data.nr == SYS_creat) return O_CREAT | O_WRONLY | O_TRUNC;
#endif
  return static_cast<int>(notification.data.args[rule.path_argument + 1]);
}

// Only looks: whatever it finds, the kernel decides on what is at the address when it reads it.
void Sandbox::TraceOpen(const seccomp_notif& notification, const NotifyRule& rule) {
  // What the init looks for is nothing that a program was refused.
  bool is_init = static_cast<int>(notification.pid) == init_pid_;
  std::string path =
      is_init ? "" : ReadText(notification.pid, notification.data.args[rule.path_argument]);
  if (!path.empty()) {
    std::string folder = "/cwd";
    if (path[0] != '/' && rule.path_argument > 0 &&
        static_cast<int>(notification.data.args[0]) != AT_FDCWD)
      folder = "/fd/" + std::to_string(static_cast<int>(notification.data.args[0]));
    NoteRefusal(notification, Absolute(notification.pid, folder.c_str(), path),
                OpenFlags(notification, rule));
  }
  CountDescriptors(notification, rule);
  calls_->GoOn(notification.id);
}

// Recorded by its real name: a link inside may name what is not granted. What would be made is
// named by the folder that it would be made in.
void Sandbox::NoteRefusal(const seccomp_notif& notification, const std::string& path, int flags) {
  bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
  int number = notification.data.nr;
  UniqueFd inside = OpenInside(notification.pid, path, O_PATH);
  if (lookups_ != nullptr) return lookups_->NoteRefusal(number, inside.Get(), path, flags, writes);
  if (inside.Valid()) {
    if (writes && IsReadOnly(inside.Get())) calls_->Record(number, "write " + path);
    return;
  }
  if (errno != ENOENT) return;
  // Its /proc is its own: a process that has just ended there has the number of another outside.
  if (path.rfind("/proc/", 0) == 0) return;
  std::string real = RealPath(path);
  size_t slash = path.find_last_of('/');
  if ((flags & O_CREAT) != 0 && slash != std::string::npos) {
    std::string parent = slash == 0 ? "/" : path.substr(0, slash);
    UniqueFd folder = OpenInside(notification.pid, parent, O_PATH | O_DIRECTORY);
    if (folder.Valid() && !IsReadOnly(folder.Get())) return;  // it is made
    if (real.empty()) real = folder.Valid() ? parent : RealPath(parent);
  }
  if (!real.empty()) calls_->Record(number, (writes ? "write " : "read ") + real);
}

void Sandbox::MappedFile(const seccomp_notif& notification, const NotifyRule& rule) {
  if ((notification.data.args[2] & PROT_EXEC) != 0) {
    UniqueFd file = Duplicate(notification.pid, static_cast<int>(notification.data.args[4]));
    if (!file.Valid()) return calls_->Reply(notification.id, EBADF);
    struct stat status;
    bool fine =
        IsReadOnly(file.Get()) || (fstat(file.Get(), &status) == 0 && (status.st_mode & 0111) != 0);
    if (!fine) {
      calls_->Record(notification.data.nr, "");
      return calls_->Reply(notification.id, rule.error);
    }
  }
  NoteCode(notification);
}

// Before the kernel maps it, so before it runs. A thread of the caller's that puts another file at
// the number meanwhile runs code in it already.
void Sandbox::NoteCode(const seccomp_notif& notification) {
  if (foreign_ == nullptr) return calls_->GoOn(notification.id);
  MappedCode found = JudgeMapping(notification, *own_);
  if (found.error != 0) return calls_->Reply(notification.id, found.error);
  // A program whose own file can be written is trusted with nothing anyhow, and stays so until it
  // executes another.
  Program program;
  if (found.foreign) program = ReadProgram(notification.pid, *own_);
  if (found.foreign && (!program.known || program.read_only)) {
    uint64_t image = ImageOf(notification.pid);
    if (!calls_->StillValid(notification.id)) return;
    if (image == 0) return calls_->Reply(notification.id, EACCES);
    foreign_->Mark(image);
  }
  calls_->GoOn(notification.id);
}

// A close that resets is the caller's to choose. One that waits is not: whoever closes a socket
// last waits, and that is the broker where a caller was killed, or closed it, in a connect.
void Sandbox::SetLinger(const seccomp_notif& notification) {
  const auto& args = notification.data.args;
  auto answer = [&](int error) { calls_->Reply(notification.id, error); };
  UniqueFd socket = Duplicate(notification.pid, static_cast<int>(args[0]));
  if (!socket.Valid()) return answer(errno == EBADF ? EBADF : EACCES);
  linger wish{};
  if (static_cast<int>(args[4]) < static_cast<int>(sizeof wish)) return answer(EINVAL);
  if (ReadMemory(notification.pid, args[3], &wish, sizeof wish) != sizeof wish)
    return answer(EFAULT);
  if (wish.l_linger != 0) wish.l_onoff = 0;
  if (!calls_->StillValid(notification.id)) return;
  answer(setsockopt(socket.Get(), SOL_SOCKET, SO_LINGER, &wish, sizeof wish) == 0 ? 0 : errno);
}

// How many descriptors a process has from a number on. All of them: the size of its folder (Linux
// 6.2); else its entries are counted.
int Descriptors(uint32_t tid, int from) {
  std::string path = ProcPath(tid, "/fd");
  struct stat status;
  if (from == 0 && stat(path.c_str(), &status) == 0 && status.st_size > 0)
    return static_cast<int>(status.st_size);
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return 0;
  int count = 0;
  while (dirent* entry = readdir(directory))
    count += entry->d_name[0] != '.' && atoi(entry->d_name) >= from;
  closedir(directory);
  return count;
}

bool MakesTwo(int number) {
#ifdef SYS_pipe
  if (number == SYS_pipe) return true;
#endif
  return number == SYS_pipe2;
}

// The call goes on, and is answered EMFILE where this finds that it will be.
void Sandbox::CountDescriptors(const seccomp_notif& notification, const NotifyRule& rule) {
  if (rule.descriptors == 0) return;
  int from = 0;
  // F_DUPFD takes the lowest free number from its argument on.
  if (notification.data.nr == SYS_fcntl) from = static_cast<int>(notification.data.args[2]);
  if (from < 0 || from >= rule.descriptors) return;
  int needed = MakesTwo(notification.data.nr) ? 2 : 1;
  if (Descriptors(notification.pid, from) + needed <= rule.descriptors - from) return;
  if (Reached(LimitKind::kOpenFiles, sessions_.Of(static_cast<int32_t>(notification.pid))))
    TellOfLimits();
}

bool Sandbox::Reached(LimitKind kind, int32_t session) {
  LimitRecord record{kind, sessions_.Chain(session)};
  std::lock_guard<std::mutex> lock(mutex_);
  for (const LimitRecord& known : limits_)
    if (known.kind == kind && known.sessions == record.sessions) return false;
  if (limits_.size() >= kMostLimits) return false;
  limits_.push_back(std::move(record));
  return true;
}

bool Sandbox::Harvest() {
  if (exits_ == nullptr) return false;
  bool any = false;
  for (int32_t session : exits_->Harvest()) any = Reached(LimitKind::kFileSize, session) || any;
  return any;
}

void Sandbox::TellOfLimits() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (limits_changed_) limits_changed_();
}

void Sandbox::OnLimitReached(std::function<void()> changed) {
  std::lock_guard<std::mutex> lock(mutex_);
  limits_changed_ = std::move(changed);
}

std::vector<LimitRecord> Sandbox::TakeLimits() {
  Harvest();
  std::vector<LimitRecord> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  taken.swap(limits_);
  return taken;
}

void Sandbox::Close() {
  connects_->Close();
  std::lock_guard<std::mutex> lock(mutex_);
  limits_changed_ = nullptr;
}

class Broker {
 public:
  uint32_t Add(const std::shared_ptr<Sandbox>& sandbox) {
    // The first call that it answers waits for its thread.
    if (!threads_.Post([sandbox] { sandbox->Serve(); })) return 0;
    std::lock_guard<std::mutex> lock(mutex_);
    sandboxes_[next_] = sandbox;
    return next_++;
  }

  std::shared_ptr<Sandbox> Find(uint32_t handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = sandboxes_.find(handle);
    return found == sandboxes_.end() ? nullptr : found->second;
  }

  void Remove(uint32_t handle) {
    std::shared_ptr<Sandbox> sandbox = Find(handle);
    if (sandbox == nullptr) return;
    sandbox->Close();
    std::lock_guard<std::mutex> lock(mutex_);
    sandboxes_.erase(handle);
  }

 private:
  KeptThreads threads_{"holdfast-idle"};
  std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Sandbox>> sandboxes_;
  uint32_t next_ = 1;
};

// Never destroyed: its threads outlive every static of the process.
Broker& TheBroker() {
  static auto* broker = new Broker;
  return *broker;
}

}  // namespace

uint32_t WatchListener(UniqueFd listener, UniqueFd sockets, UniqueFd carried, int init_pid,
                       const std::vector<NotifyRule>& rules,
                       const std::shared_ptr<const Territory>& territory,
                       const std::shared_ptr<const OwnFiles>& own) {
  return TheBroker().Add(std::make_shared<Sandbox>(std::move(listener), std::move(sockets),
                                                   std::move(carried), init_pid, rules, territory,
                                                   own));
}

int ConnectServer(uint32_t handle, int fd, uint16_t port) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? ECONNREFUSED : sandbox->ConnectServer(fd, port);
}

void OnFlow(uint32_t handle, std::function<void()> changed) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  if (sandbox != nullptr) sandbox->flows().OnFlow(std::move(changed));
}

std::vector<Flow> TakeFlows(uint32_t handle) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? std::vector<Flow>{} : sandbox->flows().Take();
}

std::vector<DenialRecord> TakeDenials(uint32_t handle) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? std::vector<DenialRecord>{} : sandbox->Take();
}

void OnLimitReached(uint32_t handle, std::function<void()> changed) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  if (sandbox != nullptr) sandbox->OnLimitReached(std::move(changed));
}

std::vector<LimitRecord> TakeLimits(uint32_t handle) {
  std::shared_ptr<Sandbox> sandbox = TheBroker().Find(handle);
  return sandbox == nullptr ? std::vector<LimitRecord>{} : sandbox->TakeLimits();
}

void UnwatchListener(uint32_t handle) { TheBroker().Remove(handle); }

}  // namespace holdfast
