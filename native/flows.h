// Connections that the broker makes for a sandbox's programs: each with who made it, known before
// its first byte.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "ancestry.h"
#include "fd.h"
#include "own_files.h"

namespace holdfast {

// The executable of a process, as its open file says: its name is the process's to choose.
struct Program {
  bool known = false;
  std::string path;  // as the sandbox sees it
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t changed_ns = 0;  // st_ctim
  uint64_t links = 0;
  // Its file is not the sandbox's own.
  bool read_only = false;
  // Code of a file was mapped into it that the sandbox can write.
  bool foreign_code = false;
  Ancestry ancestry;
  UniqueFd file;  // O_PATH
};

// /proc/TID/exe of a thread that stands still.
Program ReadProgram(uint32_t tid, const OwnFiles& own);

struct Flow {
  UniqueFd socket;  // the other end of the program's own
  std::string address;
  uint16_t port = 0;
  int32_t pid = 0;  // of the thread, as this process sees it
  Program program;
};

// On the host's loopback, for the connections of a sandbox that has no network of its own.
UniqueFd ListenOnLoopback();

// Makes them. The listener stands in the sandbox's network namespace, where every address is local,
// or on the host's loopback.
class Flows {
 public:
  explicit Flows(UniqueFd listener);

  bool Valid() const { return listener_.Valid(); }

  // The listener's own, which no program connects to by itself.
  uint16_t port() const { return port_; }

  // Connects a duplicate of the program's socket to the listener and takes the other end, so that
  // both are known to belong together: while the duplicate is open no other socket has its
  // addresses (kernel-notes B5). `connect` is connect(2), and returns an errno, 0, or -1 where
  // it was cut short. Returns what
  // the program is to be told.
  int Carry(int socket, const sockaddr_storage& to, socklen_t size, uint32_t tid, Program program,
            const std::function<int(const sockaddr*, socklen_t)>& connect);

  // Says that there are some. Apart from Carry: a program that has its answer says its first word
  // while it is told of, and the launcher need not wait for it.
  void Tell();

  void OnFlow(std::function<void()> changed);
  std::vector<Flow> Take();

 private:
  UniqueFd AcceptPeerOf(int socket);

  UniqueFd listener_;
  uint16_t port_ = 0;
  bool on_loopback_ = false;
  std::mutex connecting_;
  std::mutex mutex_;
  std::vector<Flow> flows_;
  std::function<void()> changed_;
};

}  // namespace holdfast
