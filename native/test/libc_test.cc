// The init's own C library against the system's: compiled here under names of its own.
#define HOLDFAST_LIBC_PREFIX "holdfast_libc_"
#include "../init/libc.cc"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <string>

long holdfast_page_size = 4096;

namespace {

int Sign(int value) { return (value > 0) - (value < 0); }

const char* const kTexts[] = {"",   "a",        "abc",      "abd",  "ab/cd/",
                              "//", "no slash", "\xff\x80", "a:b:c"};

}  // namespace

TEST_CASE("text is found, measured and compared as by the system's library") {
  for (const char* text : kTexts) {
    CHECK(holdfast::Length(text) == strlen(text));
    for (size_t most = 0; most < 9; most++)
      CHECK(holdfast::BoundedLength(text, most) == strnlen(text, most));
    for (char wanted : {'a', '/', ':', '\0'}) {
      CHECK(holdfast::Find(text, wanted) == strchr(text, wanted));
      CHECK(holdfast::FindLast(text, wanted) == strrchr(text, wanted));
      CHECK(holdfast::FindOrEnd(text, wanted) == strchrnul(text, wanted));
      CHECK(holdfast::FindByte(text, wanted, strlen(text)) == memchr(text, wanted, strlen(text)));
    }
    for (const char* other : kTexts) {
      CHECK(Sign(holdfast::Compare(text, other)) == Sign(strcmp(text, other)));
      CHECK(holdfast::FindText(text, other) == strstr(text, other));
      for (size_t most = 0; most < 5; most++)
        CHECK(Sign(holdfast::BoundedCompare(text, other, most)) ==
              Sign(strncmp(text, other, most)));
    }
  }
}

TEST_CASE("memory is copied, moved both ways, set and compared") {
  for (size_t size : {0u, 1u, 7u, 64u, 4097u}) {
    std::string from(size, 0);
    for (size_t i = 0; i < size; i++) from[i] = static_cast<char>(i * 7);
    std::string to(size, 1);
    CHECK(holdfast::CopyMemory(to.data(), from.data(), size) == to.data());
    CHECK(to == from);
    CHECK(holdfast::CompareMemory(to.data(), from.data(), size) == 0);
    holdfast::SetMemory(to.data(), 0x5a, size);
    CHECK(to == std::string(size, 0x5a));
  }
  std::string text = "0123456789";
  holdfast::MoveMemory(text.data() + 2, text.data(), 6);
  CHECK(text == "0101234589");
  holdfast::MoveMemory(text.data(), text.data() + 2, 6);
  CHECK(text == "0123454589");
  CHECK(holdfast::CompareMemory("\xff", "\x01", 1) > 0);
}

TEST_CASE("numbers are read as the kernel writes them") {
  char* end;
  for (const char* text : {"0", "42", " 17\n", "18446744073709551615", "12abc", "x"}) {
    char* wanted_end;
    CHECK(holdfast::ParseUnsigned(text, &end, 10) == strtoull(text, &wanted_end, 10));
    if (text[0] != 'x') CHECK(end == wanted_end);
  }
}

TEST_CASE("formats give what the system's give, cut at the room there is") {
  char ours[64];
  char theirs[64];
  for (size_t room : {0u, 1u, 5u, 64u}) {
    memset(ours, 'x', sizeof ours);
    memset(theirs, 'x', sizeof theirs);
    int length = holdfast::Format(ours, room, "/proc/%d/%s-%016lx %u%% %llu %o %c", -12, "fd",
                                  0xabcul, 7u, 1234567890123ull, 0755u, '!');
    CHECK(length == snprintf(theirs, room, "/proc/%d/%s-%016lx %u%% %llu %o %c", -12, "fd", 0xabcul,
                             7u, 1234567890123ull, 0755u, '!'));
    CHECK(memcmp(ours, theirs, sizeof ours) == 0);
  }
  CHECK(holdfast::Format(ours, sizeof ours, "%d %zu", -2147483647 - 1, static_cast<size_t>(9)) ==
        13);
  CHECK(std::string(ours) == "-2147483648 9");
}

TEST_CASE("system calls give their result, or -1 and the errno") {
  int* error = holdfast::ErrorLocation();
  CHECK(holdfast::Open("/nonexistent", O_RDONLY) == -1);
  CHECK(*error == ENOENT);
  int fd = holdfast::Open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0);
  CHECK(holdfast::Duplicate(fd, fd) == fd);
  CHECK(holdfast::Duplicate(-1, -1) == -1);
  CHECK(*error == EBADF);
  CHECK(holdfast::Write(fd, "x", 1) == 1);
  CHECK(holdfast::Close(fd) == 0);
  CHECK(holdfast::Close(fd) == -1);
  struct stat ours;
  struct stat theirs;
  CHECK(holdfast::Stat("/", &ours) == 0);
  CHECK(stat("/", &theirs) == 0);
  CHECK(ours.st_ino == theirs.st_ino);
  CHECK(ours.st_mode == theirs.st_mode);
  CHECK(holdfast::GetPid() == getpid());
  CHECK(holdfast::SystemValue(_SC_PAGESIZE) == 4096);
}
