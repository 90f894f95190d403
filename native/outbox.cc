#include "outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "fdpass.h"
#include "threads.h"

namespace holdfast {

namespace {

struct Packet {
  std::vector<uint8_t> data;
  std::vector<UniqueFd> fds;

  int Send(int control, int flags) const {
    int numbers[kMaxPassedFds];
    int count = 0;
    for (const UniqueFd& fd : fds)
      if (count < kMaxPassedFds) numbers[count++] = fd.Get();
    return SendPacket(control, data.data(), data.size(), numbers, count, flags);
  }
};

// Of one init that is behind. While there is one, what follows goes by it, so that the order stays.
struct Outbox {
  UniqueFd control;
  std::deque<Packet> packets;
};

class Outboxes {
 public:
  int Post(int control, Packet packet) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = boxes_.find(control);
    if (found != boxes_.end()) {
      found->second->packets.push_back(std::move(packet));
      return 0;
    }
    int error = packet.Send(control, MSG_DONTWAIT);
    if (error != EAGAIN) return error;
    auto box = std::make_shared<Outbox>();
    box->control.Reset(fcntl(control, F_DUPFD_CLOEXEC, 3));
    if (!box->control.Valid()) return errno;
    box->packets.push_back(std::move(packet));
    if (!StartThread([this, control, box] { Empty(control, box); })) return EAGAIN;
    boxes_[control] = box;
    return 0;
  }

  void Drop(int control) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = boxes_.find(control);
    if (found == boxes_.end()) return;
    found->second->packets.clear();
    boxes_.erase(found);
  }

 private:
  void Empty(int control, const std::shared_ptr<Outbox>& box) {
    BlockSignals();
    pthread_setname_np(pthread_self(), "holdfast-outbox");
    for (int error = 0;;) {
      Packet packet;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (error != 0) box->packets.clear();  // the init is gone
        if (box->packets.empty()) {
          auto found = boxes_.find(control);
          if (found != boxes_.end() && found->second == box) boxes_.erase(found);
          return;
        }
        packet = std::move(box->packets.front());
        box->packets.pop_front();
      }
      error = packet.Send(box->control.Get(), 0);
    }
  }

  std::mutex mutex_;
  std::map<int, std::shared_ptr<Outbox>> boxes_;
};

// Never destroyed: its threads outlive every static of the process.
Outboxes& TheOutboxes() {
  static auto* outboxes = new Outboxes;
  return *outboxes;
}

}  // namespace

int PostPacket(int control, std::vector<uint8_t> data, std::vector<UniqueFd> fds) {
  return TheOutboxes().Post(control, {std::move(data), std::move(fds)});
}

void DropPackets(int control) { TheOutboxes().Drop(control); }

}  // namespace holdfast
