// Raises the walls: runs the set-up program once, before the first child.
#pragma once

#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "../wire.h"
#include "egress.h"
#include "program.h"

namespace holdfast {

constexpr int kMaxLayers = 8;
constexpr int kMaxRlimits = 16;
constexpr int kMaxSources = 16384;

// A wall that a child puts on before its exec, on top of what the init has.
struct Layer {
  int ruleset_fd = -1;
  const void* filter = nullptr;  // struct sock_filter[]
  uint16_t filter_length = 0;
};

struct ChildRlimit {
  int resource;
  rlimit64 value;
};

struct WatchedLimits {
  uint64_t memory_bytes = 0;
  uint64_t processes = 0;
  uint64_t cpu_us = 0;
  uint64_t open_files = 0;
  bool tmp = false;
  const char* tmp_path = nullptr;
};

struct Failure {
  int error = 0;
  uint32_t index = 0;
  OpCode code{};
  uint16_t wall = 0;
  const char* syscall = "";
  char path[256] = "";
};

// Whether this is pid 1 of a namespace, whose end is everybody's.
bool HasOwnPids();

// By the parent-death signal. The thread that cloned us is the parent that counts (prctl(2)); the
// addon's lives as long as the process. Where it died before, the control socket's end tells. To be
// said again after each change of credentials.
bool DieWithLauncher();

// The control socket's end alone tells: once there is somebody whom our death would leave behind.
bool OutliveLauncher();

class Setup {
 public:
  Setup(const SetupMessage& message, const int* extra_fds, int extra_count)
      : message_(message), extra_fds_(extra_fds), extra_count_(extra_count) {}

  // False: failure() says which operation, call and errno.
  bool Run(const uint8_t* program, size_t size);
  const Failure& failure() const { return failure_; }

  const Layer* layer(uint32_t id) const { return id < kMaxLayers ? &layers_[id] : nullptr; }
  const ChildRlimit* rlimits() const { return rlimits_; }
  int rlimit_count() const { return rlimit_count_; }
  const WatchedLimits& limits() const { return limits_; }
  int listener_fd() const { return listener_fd_; }
  int sockets_fd() const { return sockets_fd_; }
  // SIGKILL to all that was started here but this process.
  void KillAll() const;
  // The same, until nobody is left. Nothing to do for pid 1, whose end does it.
  void EndAll() const;
  // What the next sandbox may have; -1 where nothing is.
  int handed_fd() const { return handed_fd_; }
  // -1 where the plan has no egress.
  int egress_fd(int place) const { return egress_fds_[place]; }

 private:
  bool Fail(const char* call, const char* path, int error);
  bool Prepare(const Operation& op, int* source);
  bool Apply(const Operation& op, int source);
  bool NeedsNetwork(OpCode code) const;
  bool DetachOldRoot();
  bool Sysctl(const Operation& op);
  bool TmpfsRoot(const Operation& op);
  bool Mkdir(const char* path, mode_t mode);
  bool File(const Operation& op);
  bool Copy(const Operation& op, int source);
  bool MakeParent(const char* path);
  bool Bind(const Operation& op, int source);
  bool Scratch(const Operation& op);
  bool Private(const Operation& op);
  bool Shared(const Operation& op);
  bool HandOn(const char* path);
  bool Attach(int tree, const char* path);
  bool ShowScratch(const char* name, mode_t mode, uint64_t attributes, const char* path);
  bool Overlay(const Operation& op);
  bool Mask(const char* path);
  bool Loopback();
  bool Identity(const Operation& op);
  bool Capabilities(bool bounding);
  bool Rlimit(const Operation& op);
  bool Ruleset(const Operation& op);
  bool Seccomp(const Operation& op);
  bool Canaries();

  const SetupMessage& message_;
  const int* extra_fds_;
  int extra_count_;
  Failure failure_;
  Operation current_;
  Layer layers_[kMaxLayers];
  ChildRlimit rlimits_[kMaxRlimits];
  int rlimit_count_ = 0;
  WatchedLimits limits_;
  int listener_fd_ = -1;
  int sockets_fd_ = -1;
  int egress_fds_[kEgressSockets] = {-1, -1, -1};
  int abstract_fd_ = -1;
  pid_t outsider_ = 0;      // a process of this user's that was made before the Landlock layer
  int outsider_line_ = -1;  // it lives as long as this is open
  bool holds_signals_ = false;
  int host_proc_fd_ = -1;
  bool wrote_sysctl_ = false;
  int old_root_fd_ = -1;
  const char* old_place_ = "";  // a folder of the old root's
  int scratch_fd_ = -1;
  int handed_fd_ = -1;
  int sources_[kMaxSources];
};

}  // namespace holdfast
