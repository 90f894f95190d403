// Watches what the running calls use, for the limits that no rlimit holds over a whole call and
// that no cgroup holds here: the sum of memory (PSS), of CPU time, of processes, the descriptors of
// each process, a full tmpfs.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "../wire.h"
#include "leader.h"
#include "setup.h"

namespace holdfast {

constexpr int kMaxCalls = 1024;
constexpr int kFirstWatchMs = 5;      // a call that bursts is seen early,
constexpr int kWatchIntervalMs = 20;  // a long one at leisure,
constexpr int kGrowthMs = 5;          // several calls in a cgroup: soon after one has grown,
constexpr int kSlowestWatchMs = 500;  // and one of many processes no more often than it costs 2 %

struct Call {
  uint32_t id = 0;
  pid_t leader =
      0;  // also its session: our child, which is the program or leads a terminal's session
  pid_t program = 0;               // also its process group
  LeaderReport* report = nullptr;  // where the leader is not the program
  bool ended = false;
  bool kill_tree_on_exit = false;
  uint64_t resident_pages = 0;  // of all its processes, when last looked at
  uint64_t orphans_us = 0;      // CPU time of what ended with us as its parent
  uint64_t gone_ticks = 0;      // CPU time of all that has ended, as far as it was seen
};

struct LimitReached {
  LimitKind kind;
  uint32_t call;  // index into the calls, or kNoCall
};
constexpr uint32_t kNoCall = ~0u;

// The folders of its own are full.
bool TmpIsFull(const WatchedLimits& limits);

// Looks once. True when a limit is reached; `*reached` names it and the call that uses most.
bool Watch(const WatchedLimits& limits, Call* calls, int call_count, LimitReached* reached);

// Whose process it was that the kernel killed for memory, which is gone by now: the only call, or
// the one that had a quarter of the limit and more than all else together when last looked at. Else
// kNoCall: an innocent call is not ended on a guess.
uint32_t Heaviest(const Call* calls, int call_count, uint64_t memory_limit);

// Sends SIGKILL to every process of the call: its session, and whatever descends from it, until
// none is left.
void KillTree(const Call& call);

}  // namespace holdfast
