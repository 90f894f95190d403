#include "fd.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("A descriptor is closed when its owner goes") {
  int number = -1;
  {
    const holdfast::UniqueFd owner(open("/dev/null", O_RDONLY | O_CLOEXEC));
    number = owner.Get();
    REQUIRE(IsOpen(number));
  }
  CHECK_FALSE(IsOpen(number));
}

TEST_CASE("A moved descriptor has one owner, and the one that it replaces is closed") {
  holdfast::UniqueFd first(open("/dev/null", O_RDONLY | O_CLOEXEC));
  holdfast::UniqueFd second(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int kept = first.Get();
  const int replaced = second.Get();
  second = std::move(first);
  CHECK(second.Get() == kept);
  CHECK(IsOpen(kept));
  CHECK_FALSE(IsOpen(replaced));
}

TEST_CASE("A released descriptor stays open") {
  holdfast::UniqueFd owner(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = owner.Release();
  CHECK_FALSE(owner.Valid());
  owner.Reset(-1);
  CHECK(IsOpen(number));
  close(number);
}
