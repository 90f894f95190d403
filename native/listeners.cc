#include "listeners.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

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
  struct {
    nlmsghdr header;
    unix_diag_req body;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = 1u << TCP_LISTEN;
  request.body.udiag_show = UDIAG_SHOW_VFS;
  std::lock_guard<std::mutex> lock(mutex_);
  if (send(diag_.Get(), &request, sizeof request, 0) < 0) return false;
  for (bool done = false; !done;) {
    alignas(nlmsghdr) char buffer[32 * 1024];
    ssize_t size = recv(diag_.Get(), buffer, sizeof buffer, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    auto left = static_cast<size_t>(size);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      done = done || header->nlmsg_type == NLMSG_DONE;
      if (header->nlmsg_type == NLMSG_ERROR) return false;
      if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY) continue;
      const unix_diag_vfs* bound = BoundTo(header);
      if (bound == nullptr || bound->udiag_vfs_ino != static_cast<uint32_t>(status.st_ino) ||
          (bound->udiag_vfs_dev != device && system.f_type != kBtrfs))
        continue;
      uint64_t socket = static_cast<const unix_diag_msg*>(NLMSG_DATA(header))->udiag_ino;
      // Of two that both seem to be it, nobody knows which.
      *inode = *found && *inode != socket ? 0 : socket;
      *found = true;
    }
  }
  return true;
}

}  // namespace holdfast
