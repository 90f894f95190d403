#include "unix_names.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <system_error>
#include <thread>

#include "caller.h"
#include "kernel.h"
#include "threads.h"

namespace holdfast {

namespace {

constexpr uint64_t kMakeSocket = 1u << 9;  // LANDLOCK_ACCESS_FS_MAKE_SOCK

// Of a process, as it would be for what it makes itself (proc_pid_status(5)).
bool UmaskOf(uint32_t tid, mode_t* mask) {
  std::string status = ReadProc(tid, "/status");
  const char* line = strstr(status.c_str(), "\nUmask:\t");
  return line != nullptr && sscanf(line, "\nUmask:\t%o", mask) == 1;
}

}  // namespace

UnixNames::UnixNames(std::shared_ptr<const Territory> territory)
    : territory_(std::move(territory)) {
  LandlockRulesetAttr handled{kMakeSocket, 0, 0};
  UniqueFd made(static_cast<int>(
      syscall(kSysLandlockCreateRuleset, &handled, sizeof handled.handled_access_fs, 0)));
  if (!made.Valid()) return;
  for (const std::string& path : territory_->writable) {
    UniqueFd folder(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder.Valid()) continue;  // a file
    LandlockPathBeneathAttr rule{kMakeSocket, folder.Get()};
    if (syscall(kSysLandlockAddRule, made.Get(), kLandlockRulePathBeneath, &rule, 0) != 0) return;
  }
  ruleset_ = std::move(made);
}

// On a thread that ends with it: its folder, mask, user and Landlock layer are not to be had back.
int UnixNames::BindHere(int folder, mode_t mask, int socket, const sockaddr_storage& address,
                        socklen_t size) const {
  BlockSignals();
  if (unshare(CLONE_FS) != 0 || fchdir(folder) != 0) return EACCES;
  umask(mask);
  ActingAs user(*territory_);
  if (!user.Fine() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      syscall(kSysLandlockRestrictSelf, ruleset_.Get(), 0) != 0)
    return EACCES;
  return bind(socket, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
}

int UnixNames::Bind(uint32_t tid, int socket, const sockaddr_storage& address,
                    socklen_t size) const {
  UniqueFd folder(open(ProcPath(tid, "/cwd").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  mode_t mask = 0;
  if (!ruleset_.Valid() || !folder.Valid() || !UmaskOf(tid, &mask)) return EACCES;
  int error = EACCES;
  try {
    std::thread([&] { error = BindHere(folder.Get(), mask, socket, address, size); }).join();
  } catch (const std::system_error&) {
    return EAGAIN;
  }
  return error;
}

}  // namespace holdfast
