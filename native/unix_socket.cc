#include "unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace holdfast {

int ListenUnix(const std::string& path, UniqueFd* fd) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.Valid()) return errno;
  // bind(2) gives the file the socket's own mode, less the umask.
  if (fchmod(made.Get(), 0600) != 0) return errno;
  if (bind(made.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return errno;
  if (listen(made.Get(), SOMAXCONN) != 0) {
    int error = errno;
    unlink(path.c_str());
    return error;
  }
  *fd = std::move(made);
  return 0;
}

}  // namespace holdfast
