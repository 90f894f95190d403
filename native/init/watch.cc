#include "watch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "directory.h"
#include "setup.h"

namespace holdfast {

namespace {

constexpr int kMaxProcesses = 16384;
constexpr uint64_t kTicksPerSecond = 100;  // USER_HZ, the same everywhere (time(7))

struct Process {
  pid_t pid;
  pid_t parent;
  pid_t session;
  char state;
  uint64_t start;  // with the pid it is one process
  uint64_t own_ticks;
  uint64_t cpu_ticks;  // with the children that it has waited for
  uint64_t resident_pages;
  uint64_t threads;
  uint32_t call;
};

Process processes[kMaxProcesses];

ssize_t Slurp(const char* path, char* buffer, size_t room) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t size = read(fd, buffer, room - 1);
  close(fd);
  if (size >= 0) buffer[size] = 0;
  return size;
}

// The numbers of a line of /proc, one after the other; each skips what is no digit before it.
uint64_t NextNumber(const char** at) {
  while (**at != 0 && (**at < '0' || **at > '9')) ++*at;
  char* end;
  uint64_t value = strtoull(*at, &end, 10);
  *at = end;
  return value;
}

// proc_pid_stat(5): the name in parentheses may hold anything, so fields are counted from the last
// one.
bool ReadStat(pid_t pid, Process* process) {
  char path[64];
  char text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (Slurp(path, text, sizeof text) <= 0) return false;
  const char* at = strrchr(text, ')');
  if (at == nullptr || at[1] != ' ' || at[2] == 0) return false;
  constexpr int kFirst = 4;  // of the numbers, after the state
  uint64_t fields[25];
  char state = at[2];
  at += 3;
  for (int i = kFirst; i < 25; i++) fields[i] = NextNumber(&at);
  *process = {pid,
              static_cast<pid_t>(fields[4]),
              static_cast<pid_t>(fields[6]),
              state,
              fields[22],
              fields[14] + fields[15],
              fields[14] + fields[15] + fields[16] + fields[17],
              fields[24],
              fields[20] > 0 ? fields[20] : 1,
              kNoCall};
  return true;
}

// Without a pid namespace the host's processes are listed as well. Whose parent ends comes to us
// (PR_SET_CHILD_SUBREAPER): all of ours have us above them.
int OnlyDescendants(int count) {
  static bool ours[kMaxProcesses];
  memset(ours, 0, sizeof ours);
  pid_t own = getpid();
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < count; i++) {
      if (ours[i]) continue;
      bool below = processes[i].parent == own;
      for (int j = 0; j < count && !below; j++)
        below = ours[j] && processes[j].pid == processes[i].parent;
      if (!below) continue;
      ours[i] = changed = true;
    }
  }
  int kept = 0;
  for (int i = 0; i < count; i++)
    if (ours[i]) processes[kept++] = processes[i];
  return kept;
}

int List(const Call* calls, int call_count) {
  int count = 0;
  int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return 0;
  pid_t own = getpid();
  Directory directory(proc);
  while (const char* name = directory.Next()) {
    if (name[0] < '1' || name[0] > '9') continue;
    auto pid = static_cast<pid_t>(strtoull(name, nullptr, 10));
    if (pid <= 1 || pid == own || count >= kMaxProcesses || !ReadStat(pid, &processes[count]))
      continue;
    bool leads = false;  // it is the init's own and counts for no limit
    for (int i = 0; i < call_count; i++)
      leads = leads || (calls[i].leader == pid && calls[i].program != pid);
    if (leads) continue;
    for (int i = 0; i < call_count; i++)
      if (processes[count].session == calls[i].leader || processes[count].pid == calls[i].leader)
        processes[count].call = static_cast<uint32_t>(i);
    count++;
  }
  close(proc);
  if (!HasOwnPids()) count = OnlyDescendants(count);
  // A process in a session of its own belongs where its parent belongs; parents may be listed
  // later.
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < count; i++) {
      if (processes[i].call != kNoCall) continue;
      for (int j = 0; j < count; j++) {
        if (processes[j].pid != processes[i].parent || processes[j].call == kNoCall) continue;
        processes[i].call = processes[j].call;
        changed = true;
        break;
      }
    }
  }
  return count;
}

// The call with the largest sum; orphans count as the only call's when there is one.
template <typename Value>
LimitReached Largest(LimitKind kind, int count, int call_count, Value value) {
  static uint64_t sums[kMaxCalls];
  memset(sums, 0, sizeof sums);
  uint32_t best = call_count == 1 ? 0 : kNoCall;
  uint64_t most = 0;
  for (int i = 0; i < count; i++) {
    if (processes[i].call == kNoCall) continue;
    uint64_t sum = sums[processes[i].call] += value(processes[i]);
    if (sum >= most) {
      most = sum;
      best = processes[i].call;
    }
  }
  return {kind, best};
}

// smaps_rollup needs ptrace access: a process that made itself undumpable counts by its resident
// size.
uint64_t Proportional(const Process& process, uint64_t page) {
  char path[64];
  char text[4096];
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", process.pid);
  if (Slurp(path, text, sizeof text) > 0) {
    const char* pss = strstr(text, "\nPss:");
    if (pss != nullptr) return strtoull(pss + 5, nullptr, 10) * 1024;
  }
  return process.resident_pages * page;
}

// The size of /proc/PID/fd is the number of open descriptors (Linux 6.2); before, the entries are
// counted.
uint64_t OpenDescriptors(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  struct stat status;
  if (stat(path, &status) == 0 && status.st_size > 0) return static_cast<uint64_t>(status.st_size);
  int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return 0;
  Directory directory(folder);
  uint64_t count = 0;
  while (directory.Next() != nullptr) count++;
  close(folder);
  return count;
}

// What was alive at the last look, in the order of pids.
struct Spent {
  uint64_t start;
  uint64_t ticks;
  pid_t pid;
  uint32_t call_id;
};
Spent spent[kMaxProcesses];
int spent_count = 0;

// A child whose parent ignores SIGCHLD leaves its time to nobody: what was seen of it is kept.
void NoteGone(int count, Call* calls, int call_count) {
  int at = 0;
  for (int i = 0; i < spent_count; i++) {
    while (at < count && processes[at].pid < spent[i].pid) at++;
    bool alive = at < count && processes[at].pid == spent[i].pid &&
                 processes[at].start == spent[i].start && processes[at].state != 'Z';
    for (int c = 0; c < call_count && !alive; c++)
      if (calls[c].id == spent[i].call_id) calls[c].gone_ticks += spent[i].ticks;
  }
  spent_count = 0;
  for (int i = 0; i < count; i++) {
    const Process& process = processes[i];
    // With one call all is its doing, what left its session and lost its parent too.
    uint32_t call = process.call == kNoCall && call_count == 1 ? 0 : process.call;
    if (process.state != 'Z' && call != kNoCall)
      spent[spent_count++] = {process.start, process.own_ticks, process.pid, calls[call].id};
  }
}

// Two sums that are both too small: what parents were told with what is alive, and what was seen.
uint64_t CpuTime(const Call& call, uint32_t index, int count, bool only) {
  uint64_t told = 0;
  uint64_t seen = call.gone_ticks;
  for (int i = 0; i < count; i++) {
    if (processes[i].call != index && !(only && processes[i].call == kNoCall)) continue;
    told += processes[i].cpu_ticks;
    seen += processes[i].own_ticks;
  }
  uint64_t told_us = told * 1000000 / kTicksPerSecond + call.orphans_us;
  uint64_t seen_us = seen * 1000000 / kTicksPerSecond;
  return told_us > seen_us ? told_us : seen_us;
}

uint64_t unowned_pages = 0;

void NoteResident(int count, Call* calls, int call_count) {
  for (int i = 0; i < call_count; i++) calls[i].resident_pages = 0;
  unowned_pages = 0;
  for (int i = 0; i < count; i++) {
    uint32_t call = processes[i].call;
    (call == kNoCall ? unowned_pages : calls[call].resident_pages) += processes[i].resident_pages;
  }
}

}  // namespace

uint32_t Heaviest(const Call* calls, int call_count, uint64_t memory_limit) {
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (call_count == 1) return 0;
  uint64_t sum = unowned_pages;
  uint32_t best = kNoCall;
  uint64_t most = memory_limit / 4 / page;
  for (int i = 0; i < call_count; i++) {
    sum += calls[i].resident_pages;
    if (calls[i].resident_pages < most) continue;
    most = calls[i].resident_pages;
    best = static_cast<uint32_t>(i);
  }
  return most > sum / 2 ? best : kNoCall;
}

bool TmpIsFull(const WatchedLimits& limits) {
  struct statfs status;
  return limits.tmp && statfs(limits.tmp_path, &status) == 0 && status.f_blocks > 0 &&
         (status.f_bfree == 0 || status.f_ffree == 0);
}

bool Watch(const WatchedLimits& limits, Call* calls, int call_count, LimitReached* reached) {
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (limits.tmp) {
    // What filled it may stay there: only the call that fills it is ended, later ones meet ENOSPC.
    static bool was_full = false;
    bool full = TmpIsFull(limits);
    bool filled = full && !was_full;
    was_full = full;
    if (filled) {
      int listed = List(calls, call_count);
      *reached =
          Largest(LimitKind::kTmpSize, listed, call_count, [](const Process&) { return 1u; });
      return true;
    }
  }
  int count = List(calls, call_count);
  NoteResident(count, calls, call_count);
  if (limits.processes != 0) {
    uint64_t alive = 0;
    for (int i = 0; i < count; i++) alive += processes[i].threads;
    if (alive > limits.processes) {
      *reached =
          Largest(LimitKind::kProcesses, count, call_count, [](const Process&) { return 1u; });
      return true;
    }
  }
  if (limits.memory_bytes != 0) {
    uint64_t resident = 0;
    for (int i = 0; i < count; i++) resident += processes[i].resident_pages * page;
    // Resident pages count shared ones many times: only when they are too many is the dear sum
    // made.
    if (resident > limits.memory_bytes) {
      uint64_t proportional = 0;
      for (int i = 0; i < count; i++) {
        processes[i].resident_pages = Proportional(processes[i], page) / page;
        proportional += processes[i].resident_pages * page;
      }
      if (proportional > limits.memory_bytes) {
        *reached = Largest(LimitKind::kMemory, count, call_count,
                           [](const Process& p) { return p.resident_pages; });
        return true;
      }
    }
  }
  if (limits.cpu_us != 0) {
    NoteGone(count, calls, call_count);
    for (int c = 0; c < call_count; c++) {
      auto index = static_cast<uint32_t>(c);
      if (CpuTime(calls[c], index, count, call_count == 1) < limits.cpu_us) continue;
      *reached = {LimitKind::kCpuTime, index};
      return true;
    }
  }
  if (limits.open_files != 0) {
    for (int i = 0; i < count; i++) {
      if (processes[i].state == 'Z' || OpenDescriptors(processes[i].pid) < limits.open_files)
        continue;
      *reached = {LimitKind::kOpenFiles, processes[i].call};
      return true;
    }
  }
  return false;
}

void KillTree(const Call& call) {
  static pid_t ended[kMaxProcesses];
  int ended_count = 0;
  // Bounded, to about a second: a tree that forks faster than it is listed meets the process limit,
  // and a killed process on a busy machine needs its turn to die.
  for (int round = 0; round < 400; round++) {
    int count = List(&call, 1);
    int alive = 0;
    for (int i = 0; i < count; i++) {
      if (processes[i].state == 'Z') continue;
      // One in a session of its own belongs to nobody once its parent is dead, but may take a
      // moment to die itself.
      bool known = false;
      for (int j = 0; j < ended_count && !known; j++) known = ended[j] == processes[i].pid;
      if (processes[i].call == kNoCall && !known) continue;
      kill(processes[i].pid, SIGKILL);
      if (!known && ended_count < kMaxProcesses) ended[ended_count++] = processes[i].pid;
      alive++;
    }
    if (alive == 0) return;
    usleep(round < 40 ? 500 : 2500);
  }
}

}  // namespace holdfast
