// Unix stream sockets with a name in the file system: unix(7).
#pragma once

#include <string>

#include "fd.h"

namespace holdfast {

// Makes one that listens, non-blocking, its file of mode 0600 from the first moment. Returns 0 or
// an errno: ENAMETOOLONG when the path does not fit, EADDRINUSE when the file is there already.
int ListenUnix(const std::string& path, UniqueFd* fd);

}  // namespace holdfast
