#include "notified.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kernel.h"

namespace holdfast {

namespace {

constexpr size_t kMaxSubjects = 256;

}  // namespace

// The caller sleeps until it is answered: whoever hears of its call runs where it ran, rather than
// on an idle processor that has to be woken. Before Linux 6.6 the kernel does not know of it.
NotifiedCalls::NotifiedCalls(UniqueFd listener) : listener_(std::move(listener)) {
  ioctl(listener_.Get(), kSeccompIoctlNotifSetFlags, kSeccompUserNotifFdSyncWakeUp);
}

int NotifiedCalls::Receive(seccomp_notif* notification) {
  memset(notification, 0, sizeof *notification);  // the kernel insists on zeroes
  return ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_RECV, notification) == 0 ? 0 : errno;
}

void NotifiedCalls::Send(uint64_t id, int error, uint32_t flags, int64_t value) {
  seccomp_notif_resp response{};
  response.id = id;
  response.val = value;
  response.error = -error;
  response.flags = flags;
  // ENOENT: the caller died or was interrupted; nobody waits for the answer.
  ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void NotifiedCalls::Reply(uint64_t id, int error) { Send(id, error, 0); }

void NotifiedCalls::Return(uint64_t id, int64_t value) { Send(id, 0, 0, value); }

void NotifiedCalls::GoOn(uint64_t id) { Send(id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE); }

int NotifiedCalls::HandIn(uint64_t id, int fd, bool close_on_exec) {
  seccomp_notif_addfd request{};
  request.id = id;
  request.flags = SECCOMP_ADDFD_FLAG_SEND;  // Linux 5.14
  request.srcfd = static_cast<uint32_t>(fd);
  request.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  return ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_ADDFD, &request) < 0 ? -1 : 0;
}

bool NotifiedCalls::StillValid(uint64_t id) const {
  return ioctl(listener_.Get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void NotifiedCalls::Record(int number, const std::string& subject) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = denials_.find({number, subject});
  if (found != denials_.end()) {
    found->second++;
  } else if (denials_.size() < kMaxSubjects) {
    denials_[{number, subject}] = 1;
  } else {
    denials_[{number, "(others)"}]++;
  }
}

std::vector<DenialRecord> NotifiedCalls::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<DenialRecord> taken;
  for (const auto& [key, count] : denials_) taken.push_back({key.first, key.second, count});
  denials_.clear();
  return taken;
}

}  // namespace holdfast
