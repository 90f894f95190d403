#include "territory.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast {

ActingAs::ActingAs(uid_t uid, gid_t gid) {
  if (geteuid() != 0 || uid == 0) return;
  int count = getgroups(0, nullptr);
  groups_.resize(count > 0 ? static_cast<size_t>(count) : 0);
  if (count > 0 && getgroups(count, groups_.data()) != count) {
    fine_ = false;
    return;
  }
  changed_ = true;
  fine_ = syscall(SYS_setgroups, 0, nullptr) == 0 && syscall(SYS_setresgid, -1, gid, -1) == 0 &&
          syscall(SYS_setresuid, -1, uid, -1) == 0;
}

ActingAs::~ActingAs() {
  if (!changed_) return;
  // A thread that could not become root again must not go on as somebody else.
  if (syscall(SYS_setresuid, -1, 0, -1) != 0 || syscall(SYS_setresgid, -1, getgid(), -1) != 0 ||
      syscall(SYS_setgroups, groups_.size(), groups_.data()) != 0)
    abort();
}

}  // namespace holdfast
