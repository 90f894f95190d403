#include "locked_memory.h"

#include <doctest/doctest.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace {

// What the kernel says of the mapping that an address lies in (proc_pid_smaps(5), VmFlags).
std::string FlagsOf(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from = 0;
    uintptr_t to = 0;
    char dash = 0;
    std::istringstream fields(line);
    if (fields >> std::hex >> from >> dash >> to && dash == '-')
      inside = from <= wanted && wanted < to;
    else if (inside && line.rfind("VmFlags:", 0) == 0)
      return line + " ";
  }
  return "";
}

bool Has(const std::string& flags, const char* flag) {
  return flags.find(std::string(" ") + flag + " ") != std::string::npos;
}

}  // namespace

TEST_CASE("A secret's memory is locked, in no core dump, and empty in a forked child") {
  holdfast::LockedMemory memory;
  REQUIRE(memory.Allocate(40).Ok());
  memcpy(memory.Data(), "secret", 6);
  const std::string flags = FlagsOf(memory.Data());
  CHECK(Has(flags, "lo"));
  CHECK(Has(flags, "dd"));
  CHECK(Has(flags, "wf"));
  const pid_t child = fork();
  if (child == 0) _exit(memory.Data()[0] == 0 ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(memory.Data()[0] == 's');
}

TEST_CASE("Wiped memory holds nothing, and what is given back is no longer mapped") {
  const uint8_t* place = nullptr;
  {
    holdfast::LockedMemory memory;
    REQUIRE(memory.Allocate(5000).Ok());
    memset(memory.Data(), 'x', memory.Size());
    memory.Wipe();
    for (size_t i = 0; i < memory.Size(); i++) REQUIRE(memory.Data()[i] == 0);
    place = memory.Data();
    REQUIRE_FALSE(FlagsOf(place).empty());
  }
  CHECK_FALSE(Has(FlagsOf(place), "lo"));
}
