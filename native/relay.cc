#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "fd.h"
#include "threads.h"

namespace holdfast {

namespace {

// One reading of a socket: what lies there ahead of a busy reader, in as few calls as it takes.
constexpr size_t kReadSize = size_t{256} * 1024;
// What a way may carry before the others have their turn.
constexpr int kReadsPerTurn = 2;

// Where one peer talks on and the other only listens, the wakeups cost as much as the bytes: such a
// peer is heard when it has said so much (socket(7), SO_RCVLOWAT).
constexpr int kBulkLowWater = 512 * 1024;
// It has said so much without a word of the other's: whoever waits for an answer, or is told how
// much may be sent as in HTTP/2, is never held up.
constexpr size_t kBulkFrom = size_t{2} * 1024 * 1024;
// What it has said is carried after so much silence anyhow; less than so much is no bulk.
constexpr int kSilenceMs = 1;
constexpr size_t kBulkLeast = size_t{64} * 1024;

using Clock = std::chrono::steady_clock;

// What became of a way's turn: it has nothing to read or no room, or has ended; there is more; or
// neither way goes on.
enum class Turn { kWaits, kGoesOn, kFailed };

struct Way {
  int from = -1;
  int to = -1;
  // What was read and has no room there; nothing more is read before it has gone.
  std::vector<uint8_t> rest;
  size_t sent = 0;
  // Whether a reading that leaves room in the buffer may have left something: an end, or what comes
  // after urgent data. Of anything else there will be another event (epoll(7), edge-triggered).
  bool to_the_end = false;
  bool ended = false;
  // Carried since the other way carried anything.
  size_t run = 0;
  bool is_bulk = false;
  Clock::time_point heard;  // the last time, while it is bulk
};

// Something happened to a relay's way, or to both.
struct Due {
  uint64_t id = 0;
  // There is something to read for a way; only then one is read for that was not waiting for room.
  bool reads[2] = {false, false};
  bool is_last[2] = {false, false};
};

struct Relay {
  UniqueFd sockets[2];
  Way ways[2];
  const void* owner = nullptr;
  bool reset = false;
  std::function<void()> ended;
};

// connect(2): AF_UNSPEC dissolves the association, which is a reset for the peer at once, whoever
// else still holds the socket. A close would wait for them.
void Reset(int socket) {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  static_cast<void>(connect(socket, &nowhere, sizeof nowhere));
}

void SetBulk(Way* way, bool is_bulk) {
  const int low_water = is_bulk ? kBulkLowWater : 1;
  // Back at one the kernel tells of what lies there as of anything new (tcp_set_rcvlowat).
  static_cast<void>(setsockopt(way->from, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water));
  way->is_bulk = is_bulk;
  way->run = 0;
}

class Relays {
 public:
  Status Start(int one, int other, const void* owner, std::function<void()> ended, uint64_t* id) {
    auto relay = std::make_shared<Relay>();
    relay->owner = owner;
    const int sockets[2] = {one, other};
    for (int i = 0; i < 2; i++) {
      relay->sockets[i].Reset(fcntl(sockets[i], F_DUPFD_CLOEXEC, 3));
      if (!relay->sockets[i].Valid()) return Status::Failed("relay", "fcntl", errno);
    }
    for (int i = 0; i < 2; i++) {
      relay->ways[i].from = relay->sockets[i].Get();
      relay->ways[i].to = relay->sockets[1 - i].Get();
    }
    relay->ended = std::move(ended);
    std::lock_guard<std::mutex> lock(mutex_);
    if (!epoll_.Valid()) epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
    *id = ++last_;
    for (uint64_t i = 0; i < 2; i++) {
      epoll_event event{};
      // Edges: a way that waits for room is not told again and again that there is something to
      // read.
      event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.u64 = *id << 1 | i;
      if (epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, relay->sockets[i].Get(), &event) != 0)
        return Status::Failed("relay", "epoll_ctl", errno);
    }
    relays_[*id] = std::move(relay);
    if (runs_) return Status::Fine();
    runs_ = threads_.Post([this] { Run(); });
    if (runs_) return Status::Fine();
    relays_.erase(*id);
    return Status::Failed("relay", "pthread_create", EAGAIN);
  }

  void Stop(uint64_t id) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = relays_.find(id);
    if (found != relays_.end()) Reset(found->second.get());
  }

  void StopAllOf(const void* owner) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [id, relay] : relays_)
      if (relay->owner == owner) Reset(relay.get());
  }

 private:
  // Their thread hears of it by their events, and closes them.
  static void Reset(Relay* relay) {
    relay->reset = true;
    for (const UniqueFd& socket : relay->sockets) holdfast::Reset(socket.Get());
  }

  void Run() {
    std::vector<Due> going_on;
    do {
      epoll_event events[64];
      const int most_ms = bulk_.empty() ? -1 : kSilenceMs;
      const int count = epoll_wait(epoll_.Get(), events, 64, going_on.empty() ? most_ms : 0);
      std::vector<Due> turns;
      turns.swap(going_on);
      for (int i = 0; i < count; i++) {
        Due due;
        due.id = events[i].data.u64 >> 1;
        const uint64_t side = events[i].data.u64 & 1;
        due.is_last[side] = (events[i].events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        due.reads[side] = (events[i].events & ~uint32_t{EPOLLOUT}) != 0;
        turns.push_back(due);
      }
      for (const Due& due : turns)
        if (Carry(due))
          going_on.push_back({
              due.id, {true, true}
          });
      if (!bulk_.empty()) Sweep(&going_on);
    } while (!IsDone());
  }

  // What was said below the low-water mark may be a peer's last word.
  void Sweep(std::vector<Due>* going_on) {
    const auto now = Clock::now();
    if (now < next_sweep_) return;
    next_sweep_ = now + std::chrono::milliseconds(kSilenceMs);
    const std::set<uint64_t> bulk = bulk_;
    for (uint64_t id : bulk) {
      const auto relay = Find(id);
      for (Way& way : relay->ways) {
        if (!way.is_bulk || now - way.heard < std::chrono::milliseconds(kSilenceMs)) continue;
        const size_t before = way.run;
        Due due{id};
        due.reads[&way - relay->ways] = true;
        if (Carry(due)) going_on->push_back(due);
        if (bulk_.count(id) == 0) break;
        if (way.is_bulk && way.run - before < kBulkLeast) SetBulk(&way, false);
      }
      if (!relay->ways[0].is_bulk && !relay->ways[1].is_bulk) bulk_.erase(id);
    }
  }

  std::shared_ptr<Relay> Find(uint64_t id) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = relays_.find(id);
    return found == relays_.end() ? nullptr : found->second;
  }

  bool IsDone() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!relays_.empty()) return false;
    runs_ = false;
    return true;
  }

  // Whether it has more to carry.
  bool Carry(const Due& due) {
    std::shared_ptr<Relay> relay;
    bool is_reset = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto found = relays_.find(due.id);
      if (found == relays_.end()) return false;
      relay = found->second;
      is_reset = relay->reset;
    }
    bool goes_on = false;
    bool has_failed = is_reset;
    for (int i = 0; i < 2 && !has_failed; i++) {
      Way& way = relay->ways[i];
      way.to_the_end |= due.is_last[i];
      if (!due.reads[i] && way.rest.empty()) continue;
      const Turn turn = Carry(&way, &relay->ways[1 - i]);
      if (way.is_bulk) bulk_.insert(due.id);
      if (turn == Turn::kGoesOn) goes_on = true;
      if (turn == Turn::kFailed) has_failed = true;
    }
    if (has_failed)
      for (const UniqueFd& socket : relay->sockets) holdfast::Reset(socket.Get());
    else if (!relay->ways[0].ended || !relay->ways[1].ended)
      return goes_on;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      relays_.erase(due.id);
      bulk_.erase(due.id);
      is_reset = relay->reset;
      for (UniqueFd& socket : relay->sockets) socket.Reset(-1);
    }
    if (!is_reset) relay->ended();
    return false;
  }

  Turn Carry(Way* way, Way* other) {
    for (int reads = 0; reads < kReadsPerTurn;) {
      if (way->sent < way->rest.size()) {
        const ssize_t size = Send(way->to, &way->rest[way->sent], way->rest.size() - way->sent);
        if (size < 0) return errno == EAGAIN ? Turn::kWaits : Turn::kFailed;
        way->sent += static_cast<size_t>(size);
        continue;
      }
      way->rest.clear();
      if (way->ended) return Turn::kWaits;
      const ssize_t size = recv(way->from, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno != EAGAIN) return Turn::kFailed;
      if (size < 0) {
        // Kept as long as there is more, whose reader is slow: memory anew for each read costs as
        // much as its copy.
        std::vector<uint8_t>().swap(way->rest);
        way->to_the_end = false;
        return Turn::kWaits;
      }
      reads++;
      if (size == 0) {
        way->ended = true;
        shutdown(way->to, SHUT_WR);
        continue;
      }
      Count(way, static_cast<size_t>(size), other);
      const ssize_t sent = Send(way->to, buffer_.data(), static_cast<size_t>(size));
      if (sent < 0 && errno != EAGAIN) return Turn::kFailed;
      // The next turn of this loop finds that there is no room, and so waits to be told of some.
      const ssize_t taken = sent < 0 ? 0 : sent;
      if (taken < size) way->rest.assign(buffer_.begin() + taken, buffer_.begin() + size);
      way->sent = 0;
      if (way->rest.empty() && static_cast<size_t>(size) < buffer_.size() && !way->to_the_end) {
        std::vector<uint8_t>().swap(way->rest);
        return Turn::kWaits;
      }
    }
    return Turn::kGoesOn;
  }

  static void Count(Way* way, size_t size, Way* other) {
    if (other->is_bulk) SetBulk(other, false);
    other->run = 0;
    way->run += size;
    if (!way->is_bulk && way->run >= kBulkFrom) SetBulk(way, true);
    if (way->is_bulk) way->heard = Clock::now();
  }

  static ssize_t Send(int socket, const uint8_t* data, size_t size) {
    ssize_t sent;
    do {
      sent = send(socket, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
  }

  KeptThreads threads_{"holdfast-relay"};
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kReadSize);
  std::mutex mutex_;
  UniqueFd epoll_;
  bool runs_ = false;
  uint64_t last_ = 0;
  std::map<uint64_t, std::shared_ptr<Relay>> relays_;
  // Of the thread alone.
  std::set<uint64_t> bulk_;
  Clock::time_point next_sweep_;
};

// Never destroyed: its thread outlives every static of the process.
Relays& All() {
  static auto* relays = new Relays;
  return *relays;
}

}  // namespace

Status StartRelay(int one, int other, const void* owner, std::function<void()> ended,
                  uint64_t* relay) {
  return All().Start(one, other, owner, std::move(ended), relay);
}

void ResetRelay(uint64_t relay) { All().Stop(relay); }

void ResetRelaysOf(const void* owner) { All().StopAllOf(owner); }

}  // namespace holdfast
