#include "outbox.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "fdpass.h"

namespace {

struct Line {
  holdfast::UniqueFd ours;
  holdfast::UniqueFd theirs;

  Line() {
    int pair[2] = {-1, -1};
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    ours.Reset(pair[0]);
    theirs.Reset(pair[1]);
  }

  // Each packet has its number, and the end of a pipe.
  void Post(int number) const {
    std::vector<uint8_t> data(4096);
    memcpy(data.data(), &number, sizeof number);
    int pipe_ends[2];
    REQUIRE(pipe2(pipe_ends, O_CLOEXEC) == 0);
    close(pipe_ends[0]);
    std::vector<holdfast::UniqueFd> fds;
    fds.emplace_back(pipe_ends[1]);
    CHECK(holdfast::PostPacket(ours.Get(), std::move(data), std::move(fds)) == 0);
  }
};

}  // namespace

TEST_CASE("More packets than a socket holds are taken at once, and come in order") {
  const Line line;
  constexpr int kCount = 300;
  for (int i = 0; i < kCount; i++) line.Post(i);
  for (int i = 0; i < kCount; i++) {
    uint8_t data[4096];
    int fd = -1;
    int fd_count = 1;
    REQUIRE(holdfast::ReceivePacket(line.theirs.Get(), data, sizeof data, &fd, &fd_count, 0) ==
            static_cast<ssize_t>(sizeof data));
    int number;
    memcpy(&number, data, sizeof number);
    CHECK(number == i);
    CHECK(fd_count == 1);
    close(fd);
  }
}

TEST_CASE("What is kept is dropped with the line: its number may be another's") {
  Line line;
  for (int i = 0; i < 300; i++) line.Post(i);
  const int number = line.ours.Get();
  holdfast::DropPackets(number);
  line.theirs.Reset(-1);
  line.ours.Reset(-1);
  Line next;
  if (next.ours.Get() != number) {
    REQUIRE(dup3(next.ours.Get(), number, O_CLOEXEC) == number);
    next.ours.Reset(number);
  }
  uint8_t byte = 7;
  CHECK(holdfast::PostPacket(number, {byte}, {}) == 0);
  CHECK(recv(next.theirs.Get(), &byte, 1, MSG_DONTWAIT) == 1);
}
