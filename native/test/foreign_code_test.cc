#include "foreign_code.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "fd.h"

namespace {

using holdfast::HasUnseenFile;
using holdfast::ImageOf;
using holdfast::LoaderOf;
using holdfast::UniqueFd;

uint64_t At(const void* address) { return reinterpret_cast<uint64_t>(address); }

TEST_CASE(
    "Memory of a file that is not executable is found in a range, by the kernel and by the lines") {
  char name[] = "/tmp/holdfast-foreign-XXXXXX";
  UniqueFd file(mkstemp(name));
  unlink(name);
  auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  REQUIRE(ftruncate(file.Get(), static_cast<off_t>(page)) == 0);
  auto* base =
      static_cast<char*>(mmap(nullptr, 4 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  auto map_file = [&](size_t at, int rights) {
    return mmap(base + at * page, page, rights, MAP_PRIVATE | MAP_FIXED, file.Get(), 0) !=
           MAP_FAILED;
  };
  REQUIRE(map_file(1, PROT_READ | PROT_EXEC));
  REQUIRE(map_file(3, PROT_READ));
  UniqueFd maps(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  for (bool asks : {true, false}) {
    auto found = [&](size_t from, size_t to) {
      lseek(maps.Get(), 0, SEEK_SET);
      return HasUnseenFile(maps.Get(), At(base + from * page), At(base + to * page), asks);
    };
    CHECK_FALSE(found(0, 1));
    CHECK_FALSE(found(0, 3));
    CHECK(found(0, 4));
    CHECK(found(3, 4));
  }
  munmap(base, 4 * page);
}

TEST_CASE("An image is the same after a fork, and another after an exec") {
  auto self = static_cast<uint32_t>(getpid());
  uint64_t own = ImageOf(self);
  CHECK(own != 0);
  CHECK(ImageOf(self) == own);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  pid_t child = fork();
  if (child == 0) {
    char byte;
    if (read(ends[0], &byte, 1) == 1) execl("/bin/sleep", "sleep", "1000", nullptr);
    _exit(1);
  }
  CHECK(ImageOf(static_cast<uint32_t>(child)) == own);
  REQUIRE(write(ends[1], "x", 1) == 1);
  close(ends[0]);
  pid_t gone = 0;
  while (ImageOf(static_cast<uint32_t>(child)) == own && gone == 0)
    gone = waitpid(child, nullptr, WNOHANG);
  CHECK(gone == 0);
  CHECK(ImageOf(static_cast<uint32_t>(child)) != own);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ends[1]);
}

TEST_CASE("A program names its loader, or none; what is no program cannot be told") {
  UniqueFd self(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  std::optional<std::string> loader = LoaderOf(self.Get());
  REQUIRE(loader.has_value());
  CHECK(access(loader->c_str(), X_OK) == 0);
  UniqueFd itself(open(loader->c_str(), O_PATH | O_CLOEXEC));
  CHECK(LoaderOf(itself.Get()) == "");
  UniqueFd text(open("/etc/passwd", O_PATH | O_CLOEXEC));
  CHECK_FALSE(LoaderOf(text.Get()).has_value());
}

TEST_CASE("What cannot be told is taken for marked, and so is everything past the bound") {
  holdfast::ForeignCode marks;
  CHECK(marks.Has(0));
  CHECK_FALSE(marks.Has(1));
  for (uint64_t image = 2; image < (1 << 18) + 2; image++) marks.Mark(image);
  CHECK_FALSE(marks.Has(1));
  marks.Mark(2);
  CHECK_FALSE(marks.Has(1));
  marks.Mark(1u << 20);
  CHECK(marks.Has(1));
}

}  // namespace
