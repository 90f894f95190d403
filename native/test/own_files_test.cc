#include "own_files.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "fd.h"

namespace {

using holdfast::OwnFiles;
using holdfast::UniqueFd;

TEST_CASE("A file is the sandbox's by the nearest folder, by its kind, and by a newer other name") {
  char made[] = "/tmp/holdfast-own-XXXXXX";
  std::string folder = mkdtemp(made);
  std::string path = folder + "/file";
  UniqueFd file(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
  OwnFiles own;
  own.has_mounts = false;
  own.uid = getuid();
  auto has = [&](std::vector<std::pair<std::string, bool>> folders) {
    own.folders = std::move(folders);
    return own.Has(file.Get());
  };
  CHECK_FALSE(has({}));
  CHECK(has({
      {folder, true}
  }));
  CHECK(has({
      {"/", true}
  }));
  CHECK_FALSE(has({
      {folder + "/fil", true}
  }));
  CHECK_FALSE(has({
      {folder, false},
      {"/tmp", true }
  }));
  CHECK(has({
      {folder, true },
      {"/tmp", false}
  }));
  // Another name: of what was changed since, by whom it could be.
  REQUIRE(link(path.c_str(), (path + "2").c_str()) == 0);
  CHECK(has({}));
  own.since.tv_sec = time(nullptr) + 3600;
  CHECK_FALSE(has({}));
  own.since.tv_sec = 0;
  own.uid = getuid() + 1;
  CHECK_FALSE(has({}));
  REQUIRE(fchmod(file.Get(), 0664) == 0);
  CHECK(has({}));
  // On what is mounted for writing there is nothing that it cannot write.
  own.since.tv_sec = time(nullptr) + 3600;
  own.has_mounts = true;
  CHECK(has({}));
  own.has_mounts = false;
  for (const char* name : {"/dev/null", "/tmp"}) {
    UniqueFd other(open(name, O_PATH | O_CLOEXEC));
    CHECK(own.Has(other.Get()));
  }
  UniqueFd zero(open("/dev/zero", O_PATH | O_CLOEXEC));
  CHECK_FALSE(own.Has(zero.Get()));
  unlink((path + "2").c_str());
  unlink(path.c_str());
  rmdir(folder.c_str());
}

}  // namespace
