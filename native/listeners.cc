#include "listeners.h"

#include <linux/netlink.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "sock_diag.h"

namespace holdfast {

namespace {

// linux/magic.h. On these stat(2) names another device than the kernel's own table does; through an
// overlay nobody reaches a socket of the host (kernel-notes B6).
constexpr auto kOverlay = 0x794c7630L;
constexpr auto kBtrfs = 0x9123683eL;

const unix_diag_vfs* BoundTo(const nlmsghdr* header) {
  const auto* end = reinterpret_cast<const char*>(header) + header->nlmsg_len;
  const auto* at = static_cast<const char*>(NLMSG_DATA(header)) + sizeof(unix_diag_msg);
  while (at + sizeof(nlattr) <= end) {
    const auto* attribute = reinterpret_cast<const nlattr*>(at);
    if (attribute->nla_len < sizeof *attribute || at + attribute->nla_len > end) break;
    if (attribute->nla_type == UNIX_DIAG_VFS &&
        attribute->nla_len >= sizeof *attribute + sizeof(unix_diag_vfs))
      return reinterpret_cast<const unix_diag_vfs*>(at + sizeof *attribute);
    at += NLMSG_ALIGN(attribute->nla_len);
  }
  return nullptr;
}

}  // namespace

bool ListenerTable::IsForeign(int file) {
  bool found = false;
  uint64_t inode = 0;
  return Find(file, &found, &inode) && !found;
}

uint64_t ListenerTable::InodeAt(int file) {
  bool found = false;
  uint64_t inode = 0;
  return Find(file, &found, &inode) && found ? inode : 0;
}

bool ListenerTable::Find(int file, bool* found, uint64_t* inode) {
  struct stat status;
  struct statfs system;
  if (!diag_.Valid() || fstat(file, &status) != 0 || !S_ISSOCK(status.st_mode) ||
      fstatfs(file, &system) != 0 || system.f_type == kOverlay)
    return false;
  // The kernel's own dev_t: twelve bits of major above twenty of minor (linux/kdev_t.h).
  uint32_t device = major(status.st_dev) << 20 | minor(status.st_dev);
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = 1u << TCP_LISTEN;
  request.udiag_show = UDIAG_SHOW_VFS;
  auto look = [&](const nlmsghdr* answer) {
    const unix_diag_vfs* bound = BoundTo(answer);
    if (bound == nullptr || bound->udiag_vfs_ino != static_cast<uint32_t>(status.st_ino) ||
        (bound->udiag_vfs_dev != device && system.f_type != kBtrfs))
      return true;
    uint64_t socket = static_cast<const unix_diag_msg*>(NLMSG_DATA(answer))->udiag_ino;
    // Of two that both seem to be it, nobody knows which.
    *inode = *found && *inode != socket ? 0 : socket;
    *found = true;
    return true;
  };
  std::lock_guard<std::mutex> lock(mutex_);
  return DumpSockets(diag_.Get(), &request, sizeof request, look);
}

}  // namespace holdfast
