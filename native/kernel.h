// Kernel interfaces that the build machine's headers may be too old to name. Numbers are the
// kernel's own and fixed; each block cites where they come from.
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast {

// arch/*/include/generated/uapi/asm/unistd*.h: one number for both architectures since 5.x.
constexpr long kSysOpenTree = 428;
constexpr long kSysMoveMount = 429;
constexpr long kSysFsopen = 430;
constexpr long kSysFsconfig = 431;
constexpr long kSysFsmount = 432;
constexpr long kSysPidfdOpen = 434;
constexpr long kSysCloseRange = 436;
constexpr long kSysPidfdGetfd = 438;
constexpr long kSysMountSetattr = 442;
constexpr long kSysLandlockCreateRuleset = 444;
constexpr long kSysLandlockAddRule = 445;
constexpr long kSysLandlockRestrictSelf = 446;

// include/uapi/linux/mount.h
constexpr unsigned kOpenTreeClone = 1;
constexpr unsigned kOpenTreeCloexec = 02000000;
constexpr unsigned kAtRecursive = 0x8000;
constexpr unsigned kMoveMountFEmptyPath = 0x00000004;
constexpr unsigned kMoveMountTEmptyPath = 0x00000040;
constexpr uint64_t kMountAttrRdonly = 0x00000001;
constexpr uint64_t kMountAttrNosuid = 0x00000002;
constexpr uint64_t kMountAttrNodev = 0x00000004;
constexpr uint64_t kMountAttrNoexec = 0x00000008;
constexpr uint64_t kMountAttrIdmap = 0x00100000;
constexpr unsigned kFsmountCloexec = 1;
constexpr unsigned kFsopenCloexec = 1;
constexpr unsigned kFsconfigSetFlag = 0;
constexpr unsigned kFsconfigSetString = 1;
constexpr unsigned kFsconfigCmdCreate = 6;

struct MountAttr {
  uint64_t attr_set;
  uint64_t attr_clr;
  uint64_t propagation;
  uint64_t userns_fd;
};

// include/uapi/linux/landlock.h, ABI 6
struct LandlockRulesetAttr {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
};
struct __attribute__((packed)) LandlockPathBeneathAttr {
  uint64_t allowed_access;
  int32_t parent_fd;
};
struct LandlockNetPortAttr {
  uint64_t allowed_access;
  uint64_t port;
};
constexpr unsigned kLandlockCreateRulesetVersion = 1;
constexpr unsigned kLandlockRulePathBeneath = 1;
constexpr unsigned kLandlockRuleNetPort = 2;

// include/uapi/linux/seccomp.h
constexpr unsigned kSeccompSetModeFilter = 1;
constexpr unsigned kSeccompFilterFlagNewListener = 1u << 3;
constexpr unsigned kSeccompFilterFlagWaitKillableRecv = 1u << 5;
constexpr unsigned long kSeccompIoctlNotifSetFlags = _IOW('!', 4, uint64_t);  // Linux 6.6
constexpr uint64_t kSeccompUserNotifFdSyncWakeUp = 1;

inline int OpenTree(int dir, const char* path, unsigned flags) {
  return static_cast<int>(syscall(kSysOpenTree, dir, path, flags));
}
inline int MoveMount(int from, const char* from_path, int to, const char* to_path, unsigned flags) {
  return static_cast<int>(syscall(kSysMoveMount, from, from_path, to, to_path, flags));
}
inline int MountSetattr(int dir, const char* path, unsigned flags, MountAttr* attr) {
  return static_cast<int>(syscall(kSysMountSetattr, dir, path, flags, attr, sizeof *attr));
}
inline int PidfdOpen(int pid, unsigned flags) {
  return static_cast<int>(syscall(kSysPidfdOpen, pid, flags));
}
inline int CloseRange(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(syscall(kSysCloseRange, first, last, flags));
}

// include/uapi/linux/fs.h, PROCMAP_QUERY (Linux 6.11)
struct ProcmapQuery {
  uint64_t size;
  uint64_t query_flags;
  uint64_t query_addr;
  uint64_t vma_start;
  uint64_t vma_end;
  uint64_t vma_flags;
  uint64_t vma_page_size;
  uint64_t vma_offset;
  uint64_t inode;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint32_t vma_name_size;
  uint32_t build_id_size;
  uint64_t vma_name_addr;
  uint64_t build_id_addr;
};
constexpr unsigned long kProcmapQuery = _IOWR('f', 17, ProcmapQuery);
constexpr uint64_t kProcmapExecutable = 0x04;
constexpr uint64_t kProcmapCoveringOrNext = 0x10;
constexpr uint64_t kProcmapFileBacked = 0x20;

}  // namespace holdfast
