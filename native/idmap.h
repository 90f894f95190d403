// Idmapped mounts (mount_setattr(2), MOUNT_ATTR_IDMAP): when root starts a sandbox that runs as
// another uid, the workspace shows root's files as that uid's, and what is written there is root's
// on disk.
#pragma once

#include <string>

#include "fd.h"
#include "result.h"

namespace holdfast {

// A detached clone of the tree at `source` under two id maps (lines as in /proc/PID/uid_map). Needs
// CAP_SYS_ADMIN in the file system's user namespace, so real root. Maps that are not known yet need
// the launcher thread: a process is cloned for them.
Status CloneIdMapped(const std::string& source, bool recursive, const std::string& uid_map,
                     const std::string& gid_map, UniqueFd* tree);

bool IsMapKnown(const std::string& uid_map, const std::string& gid_map);

}  // namespace holdfast
