#include "relay.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "fd.h"

namespace {

struct Tcp {
  holdfast::UniqueFd far;
  holdfast::UniqueFd near;

  Tcp() {
    holdfast::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* name = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(bind(listener.Get(), name, size) == 0);
    REQUIRE(listen(listener.Get(), 1) == 0);
    REQUIRE(getsockname(listener.Get(), name, &size) == 0);
    far.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(connect(far.Get(), name, size) == 0);
    near.Reset(accept4(listener.Get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(near.Valid());
  }
};

// A client, what is between, and a server.
struct Line {
  Tcp client;
  Tcp server;
  std::promise<void> ended;
  uint64_t relay = 0;

  explicit Line(const void* owner = nullptr) {
    REQUIRE(holdfast::StartRelay(
                client.near.Get(), server.near.Get(), owner, [this] { ended.set_value(); }, &relay)
                .Ok());
  }
};

std::vector<uint8_t> ReadAll(int fd) {
  std::vector<uint8_t> all;
  uint8_t part[1000];  // small: the writers have to wait
  for (ssize_t size; (size = read(fd, part, sizeof part)) > 0;)
    all.insert(all.end(), part, part + size);
  return all;
}

void WriteAll(int fd, const std::vector<uint8_t>& data) {
  for (size_t at = 0; at < data.size();) {
    const ssize_t size = send(fd, &data[at], data.size() - at, MSG_NOSIGNAL);
    REQUIRE(size > 0);
    at += static_cast<size_t>(size);
  }
  shutdown(fd, SHUT_WR);
}

std::vector<uint8_t> Numbers(size_t size, uint8_t first) {
  std::vector<uint8_t> numbers(size);
  uint32_t state = first;
  for (uint8_t& each : numbers) {
    state = state * 1664525 + 1013904223;
    each = static_cast<uint8_t>(state >> 24);
  }
  return numbers;
}

}  // namespace

TEST_CASE("Both ways of a relay carry all that is said, in order, and each ends for itself") {
  Line line;
  const auto asked = Numbers(3'000'000, 1);
  const auto answered = Numbers(5'000'000, 2);
  std::thread asks([&] { WriteAll(line.client.far.Get(), asked); });
  std::thread answers([&] { WriteAll(line.server.far.Get(), answered); });
  std::thread hears([&] { CHECK(ReadAll(line.server.far.Get()) == asked); });
  CHECK(ReadAll(line.client.far.Get()) == answered);
  asks.join();
  answers.join();
  hears.join();
  line.ended.get_future().wait();
}

TEST_CASE("Whoever talks on is heard in larger parts, and its last word arrives without another") {
  Line line;
  const auto low_water = [](const Tcp& tcp) {
    int value = 0;
    socklen_t size = sizeof value;
    REQUIRE(getsockopt(tcp.near.Get(), SOL_SOCKET, SO_RCVLOWAT, &value, &size) == 0);
    return value;
  };
  // Bounded, so that a word that is never told of fails and does not hang.
  const timeval limit{10, 0};
  for (const Tcp* each : {&line.client, &line.server})
    setsockopt(each->far.Get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::vector<uint8_t> part(64 * 1024);
  const auto hear = [&](const Tcp& who, size_t size, int* highest) {
    for (size_t have = 0; have < size;) {
      const ssize_t got = recv(who.far.Get(), part.data(), std::min(part.size(), size - have), 0);
      REQUIRE(got > 0);
      have += static_cast<size_t>(got);
      *highest = std::max(*highest, low_water(line.server));
    }
  };
  const auto said = Numbers(64'000'000, 3);
  for (int round = 0; round < 2; round++) {
    // Not ended: nothing follows what was said last.
    std::thread talks([&] {
      for (size_t at = 0; at < said.size();) {
        const ssize_t sent = send(line.server.far.Get(), &said[at], said.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += static_cast<size_t>(sent);
      }
    });
    int highest = 0;
    hear(line.client, said.size(), &highest);
    talks.join();
    CHECK(highest > 1);
    CHECK(send(line.server.far.Get(), said.data(), 1000, MSG_NOSIGNAL) == 1000);
    hear(line.client, 1000, &highest);
    // What the other says, and what is said for a word of the other's, is told of at once.
    int none = 0;
    CHECK(send(line.client.far.Get(), "?", 1, MSG_NOSIGNAL) == 1);
    hear(line.server, 1, &none);
    CHECK(low_water(line.server) == 1);
    CHECK(send(line.server.far.Get(), "!", 1, MSG_NOSIGNAL) == 1);
    hear(line.client, 1, &none);
  }
  for (const Tcp* each : {&line.client, &line.server}) shutdown(each->far.Get(), SHUT_WR);
  line.ended.get_future().wait();
}

TEST_CASE("Many relays at once do not take each other's bytes") {
  std::vector<std::thread> threads;
  for (uint8_t i = 0; i < 20; i++) {
    threads.emplace_back([i] {
      Line line;
      const auto asked = Numbers(300'000, i);
      std::thread asks([&] { WriteAll(line.client.far.Get(), asked); });
      CHECK(ReadAll(line.server.far.Get()) == asked);
      asks.join();
      shutdown(line.server.far.Get(), SHUT_WR);
      line.ended.get_future().wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("What is sent together with its end, and around urgent data, arrives") {
  for (int round = 0; round < 200; round++) {
    Line line;
    const int client = line.client.far.Get();
    CHECK(send(client, "one", 3, MSG_NOSIGNAL) == 3);
    CHECK(send(client, "!", 1, MSG_NOSIGNAL | MSG_OOB) == 1);
    CHECK(send(client, "two", 3, MSG_NOSIGNAL) == 3);
    shutdown(client, SHUT_WR);
    const auto heard = ReadAll(line.server.far.Get());
    CHECK(std::string(heard.begin(), heard.end()) == "onetwo");
    shutdown(line.server.far.Get(), SHUT_WR);
    line.ended.get_future().wait();
  }
}

TEST_CASE(
    "A relay that is reset is so for both peers when the call returns, and is not said to have "
    "ended") {
  Line line;
  holdfast::ResetRelay(line.relay);
  char byte;
  CHECK(recv(line.client.far.Get(), &byte, 1, MSG_DONTWAIT) < 0);
  CHECK(errno == ECONNRESET);
  CHECK(recv(line.server.far.Get(), &byte, 1, MSG_DONTWAIT) < 0);
  CHECK(errno == ECONNRESET);
  holdfast::ResetRelay(line.relay);  // a second time it is nobody's
  auto ended = line.ended.get_future();
  // The thread is through with it when a later relay has ended.
  Line later;
  shutdown(later.client.far.Get(), SHUT_WR);
  shutdown(later.server.far.Get(), SHUT_WR);
  later.ended.get_future().wait();
  CHECK(ended.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
}

TEST_CASE("A peer that resets its connection has the other's reset, and both duplicates closed") {
  Line line;
  linger at_once{1, 0};
  setsockopt(line.client.far.Get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  line.client.far.Reset(-1);
  line.ended.get_future().wait();
  char byte;
  CHECK(recv(line.server.far.Get(), &byte, 1, 0) < 0);
  CHECK(errno == ECONNRESET);
}

TEST_CASE("An owner's relays are reset with it, and nobody else's") {
  const int owners[2] = {};
  Line own(&owners[0]);
  Line other(&owners[1]);
  holdfast::ResetRelaysOf(&owners[0]);
  char byte;
  CHECK(recv(own.client.far.Get(), &byte, 1, MSG_DONTWAIT) < 0);
  CHECK(errno == ECONNRESET);
  CHECK(send(other.client.far.Get(), "x", 1, MSG_NOSIGNAL) == 1);
  CHECK(recv(other.server.far.Get(), &byte, 1, 0) == 1);
  shutdown(other.client.far.Get(), SHUT_WR);
  shutdown(other.server.far.Get(), SHUT_WR);
  other.ended.get_future().wait();
}
