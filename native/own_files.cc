#include "own_files.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "caller.h"

namespace holdfast {

bool OwnFiles::HasPath(const std::string& path) const {
  size_t longest = 0;
  bool own = false;
  for (const auto& [folder, is_own] : folders) {
    if (!IsWithin(path, folder) || folder.size() < longest) continue;
    longest = folder.size();
    own = is_own;
  }
  return own;
}

bool OwnFiles::Has(int file) const {
  struct stat status;
  return fstat(file, &status) != 0 || Has(file, status, PlaceOf(file));
}

bool OwnFiles::Has(int file, const struct stat& status, const std::string& place) const {
  struct statvfs view;
  if (fstatvfs(file, &view) != 0) return true;
  // /dev/zero: what is mapped is anonymous memory. Other devices' memory is written elsewhere.
  if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 5)) return false;
  if (!S_ISREG(status.st_mode)) return true;
  if (has_mounts && (view.f_flag & ST_RDONLY) == 0) return true;
  // What has no name is a memfd, or was deleted by who can write its folder.
  if (!has_mounts && status.st_nlink == 0) return true;
  // Another of its names may lie where the sandbox can write, and may have been written by.
  bool is_new = status.st_ctim.tv_sec > since.tv_sec ||
                (status.st_ctim.tv_sec == since.tv_sec && status.st_ctim.tv_nsec >= since.tv_nsec);
  bool may_write = status.st_uid == uid || (status.st_mode & 0022) != 0;
  if (status.st_nlink > 1 && is_new && may_write) return true;
  // A protected name is read-only, and its content is the workspace's all the same.
  return place.empty() || HasPath(place);
}

}  // namespace holdfast
