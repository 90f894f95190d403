// What the addon and the init say to each other. Both sides are built from the same sources, so the
// layout is the compiler's; lib/plan/encode.ts writes the set-up program and a test compares its
// numbers with these.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace holdfast {

// Descriptors that the init is started with.
constexpr int kControlFd = 3;  // SOCK_SEQPACKET: requests in, descriptors out
constexpr int kEventsFd = 4;   // SOCK_STREAM: fixed-size records out
constexpr int kFirstExtraFd = 5;

// One operation of the set-up program: a header, `number_count` 64-bit numbers, then `string_count`
// strings, each a 32-bit length, its bytes, a NUL and padding to 8.
struct OpHeader {
  uint16_t code;
  uint16_t number_count;
  uint16_t string_count;
  uint16_t reserved;
  uint32_t length;  // of the whole operation, header included
  uint32_t index;   // place in the program, for error reports
};

enum class OpCode : uint16_t {
  kTmpfsRoot = 1,  // n: size, inodes
  kMkdir = 2,      // n: mode; s: path
  kSymlink = 3,    // s: target, path
  kFile = 4,       // n: mode; s: path, content
  kBind = 5,       // n: flags, fd index or -1; s: source, path
  kScratch = 6,    // n: size, inodes: a tmpfs that is not shown itself, after kTmpfsRoot
  kProc = 7,       // s: path
  kDevpts = 8,     // s: path
  kOverlay = 9,    // s: lower, upper, work, path
  kMask = 10,      // s: path
  kReadOnly = 11,  // n: recursive; s: path
  kPivot = 12,
  kHostname = 13,  // s: name
  kLoopback = 14,
  kSysctl = 15,        // n: 1 where it is a help and no wall; s: path, value
  kIdentity = 16,      // n: uid, gid, drop supplementary groups
  kCapabilities = 17,  // n: 1 where the bounding set and the secure bits can be given up as well
  kRlimit = 18,        // n: resource, soft, hard
  kRuleset =
      19,  // n: id, handled_fs, handled_net, scoped, then pairs (access, string index); s: paths
  kRestrict = 20,  // n: ruleset id
  kSeccomp = 21,   // n: layer (0: the init itself); s: program
  kVerify = 22,    // n: wall, then what the wall needs; s: paths
  kLimits = 23,    // n: memory, processes, cpu_us, open_files, 0, check tmp; s: tmpfs to watch
  kNoNewPrivs = 24,
  kUndumpable = 25,
  kCanaries = 26,  // what the Landlock layer, put on later, must keep us from
  kNetPort = 27,   // n: ruleset id, access, port
  kUnmount = 28,   // s: path
  kKeyring = 29,   // a session keyring of its own
  kCopy = 30,  // n: mode; s: source on the host, path: a small file, passed over where it is none
  kPrivate = 32,  // n: mode; s: a name in that tmpfs, path: a folder of it, shown there
  kShared = 33,   // n: size, inodes, extra descriptor or -1; s: path: a file system of its own,
                  // made anew or handed on by another sandbox
  kHandOn = 34,   // s: path: the next sandbox may have it, as it is now
  kEgress = 31,   // n: port of the listener for connections that the broker makes
};

enum class BindFlag : uint64_t {
  kReadOnly = 1,
  kNoExec = 2,
  kRecursive = 4,
  kOptional = 8,  // a source that does not exist is passed over
  kDevice = 16,   // device nodes stay usable
  kMakeTarget = 32,
  kBeforePivot = 64,  // the source is looked up on the host, else inside the new root
};

enum class Wall : uint64_t {
  kUserNamespace = 1,
  kMountNamespace = 2,
  kPidNamespace = 3,
  kNetworkNamespace = 4,
  kIpcNamespace = 5,
  kUtsNamespace = 6,
  kReadOnlyRoot = 7,
  kCapabilities = 8,
  kNoNewPrivs = 9,
  kLandlockFilesystem = 10,
  kLandlockNetwork = 11,
  kLandlockSignal = 12,
  kLandlockAbstract = 13,
  kSeccomp = 14,
  kNotDumpable = 15,
  kCgroupNamespace = 16,
  kSocketFilter = 17,
};

constexpr int kMaxWalls = 32;

enum class MessageType : uint32_t {
  kSetup = 1,        // addon → init: the program in a memfd, then idmapped mounts and the like
  kListener = 2,     // init → addon: the seccomp listener
  kReady = 3,        // init → addon
  kFailed = 4,       // init → addon
  kExec = 10,        // addon → init
  kSignal = 11,      // addon → init
  kFileOpen = 12,    // addon → init
  kFileWrite = 13,   // addon → init
  kPtyMaster = 14,   // init → addon, with a descriptor
  kFileResult = 15,  // init → addon, with a descriptor where a file was opened
  kResume = 16,      // addon → init: SIGCONT after a stop
  kMapsWritten = 17,
  kSocket = 18,      // addon → init: a TCP socket in the sandbox's network namespace is wanted
  kSocketMade = 19,  // init → addon, with the socket
};

struct SetupMessage {
  MessageType type;
  uint32_t size;                // of the program
  uint64_t host_ns[kMaxWalls];  // inode numbers of the launcher's namespaces, indexed by Wall where
                                // it is a namespace
  int32_t launcher_pid;
  uint32_t cgroup_events;  // bit for each CgroupEventFile whose descriptor comes last, in order
  uint64_t memory_limit;   // of the cgroup, in bytes
};

// Counters of the sandbox's cgroup; the launcher opens them for reading.
enum class CgroupEventFile : uint32_t {
  kMemoryKills = 0,
  kMemoryReached = 1,  // v2: a counter; v1: the most that was used
  kMemoryUsed = 2,
  kTasksRefused = 3,
};
constexpr int kCgroupEventFiles = 4;

// Descriptors come with it, each bit of `given` one of them, in this order: the filter's listener,
// NETLINK_SOCK_DIAG, the listener of carried connections, the resolver's datagrams, its streams,
// what is handed on to the next sandbox.
constexpr int kReadyFds = 6;
struct ReadyMessage {
  MessageType type;
  uint32_t given;
};

struct FailedMessage {
  MessageType type;
  uint32_t index;  // of the operation
  uint16_t code;   // OpCode
  uint16_t wall;   // for kVerify
  int32_t error;   // errno, 0 when a forbidden thing succeeded
  char syscall[64];
  char path[256];
};

enum ExecFlag : uint32_t {
  kExecPty = 1,  // a pseudo terminal of the sandbox's own; pty_mask says which of 0, 1, 2 are on it
  kExecPayloadFd = 2,    // the strings are in the first descriptor (a memfd), not in the packet
  kExecMergeStderr = 4,  // 2 is a duplicate of 1
  kExecSearchPath = 8,
  kExecKillTreeOnExit = 16,  // what it leaves in its session is killed before its exit is reported
  kExecQuiet = 32,           // its start is not reported: the caller waits for its end alone
};

// Followed by argc + envc strings, the working directory and the search path, each NUL-terminated:
// file, cwd, path, argv..., envp...
struct ExecMessage {
  MessageType type;
  uint32_t id;
  uint32_t flags;
  uint32_t layer;
  uint32_t argc;
  uint32_t envc;
  uint32_t pty_mask;
  uint16_t rows;
  uint16_t columns;
  uint32_t payload_size;
  uint32_t umask_;
  uint8_t terminal[44];  // struct termios2 for the pseudo terminal; all zero: the kernel's own
};

struct SignalMessage {
  MessageType type;
  uint32_t id;
  int32_t signal;
  uint32_t whole_tree;
};

struct SocketMessage {
  MessageType type;
  uint32_t id;
  uint32_t family;  // AF_INET or AF_INET6
};

// In FileMessage::flags, beside the permission bits that a written file gets (0: its own of before,
// or 0600): no link below a root is followed.
inline constexpr uint32_t kFileNoLinks = 0x10000;

// Followed by NUL-terminated strings: path, then root_count roots, then read_only_count read-only
// roots.
struct FileMessage {
  MessageType type;
  uint32_t id;
  uint32_t layer;
  uint32_t root_count;
  uint32_t read_only_count;
  uint32_t flags;
};

enum class FileStatus : uint32_t {
  kOk = 0,
  kOutside = 1,
  kDirectory = 2,
  kOther = 3,
  kResolveError = 4,
  kError = 5,
  kReadOnly = 6,
};

struct FileResultMessage {
  MessageType type;
  uint32_t id;
  FileStatus status;
  int32_t error;
  uint64_t size;
  uint64_t mtime_ns;
  uint32_t mode;
  uint32_t root_index;
  char path[4096];
};

enum class EventType : uint32_t {
  kStarted = 1,  // value: pid inside, detail: its session
  kFailed = 2,   // value: errno, detail: ExecStep
  kExited = 3,   // value: wait status
  kStopped = 4,  // value: signal
  kLimit = 5,    // detail: LimitKind
  kFileDone = 6,
  kReady = 7,       // the walls stand; kReady's packet, with the listener, is on the control socket
  kSocketDone = 8,  // value: errno
};

enum class ExecStep : uint32_t {
  kFork = 1,
  kPty = 2,
  kDescriptors = 3,
  kDirectory = 4,
  kLandlock = 5,
  kSeccomp = 6,
  kExecve = 7,
  kProtocol = 8,
  kInterpreter = 9,  // the file is there; what its first line or its ELF header names is not
};

enum class LimitKind : uint32_t {
  kMemory = 1,
  kProcesses = 2,
  kCpuTime = 3,
  kOpenFiles = 4,
  kFileSize = 5,
  kTmpSize = 6,
};

struct Event {
  EventType type;
  uint32_t id;
  int32_t value;
  uint32_t detail;
  uint64_t user_us;
  uint64_t system_us;
  uint64_t max_rss_bytes;
};
static_assert(sizeof(Event) == 40, "lib/sandbox/events.ts reads records of 40 bytes");

}  // namespace holdfast
