// What is read of a process whose call was handed to the broker: it stands still, its other threads
// do not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "fd.h"

namespace holdfast {

std::string ProcPath(uint32_t pid, const char* rest);

// The beginning of a file of /proc/PID (`/stat`), as one read gives it; empty when it has gone.
std::string ReadProc(uint32_t pid, const char* name);

// 0 where there is none, or the process has gone.
int ParentOf(uint32_t pid);

// One read: what is judged and what is used are the same bytes, whatever other threads of the
// caller write there.
ssize_t ReadMemory(uint32_t pid, uint64_t address, void* buffer, size_t size);

ssize_t WriteMemory(uint32_t pid, uint64_t address, const void* buffer, size_t size);

// Up to the first nul; empty when there is none within 4096 bytes.
std::string ReadText(uint32_t pid, uint64_t address);

// A duplicate of the caller's descriptor. The notification names a thread: PIDFD_THREAD
// (Linux 6.9), else its process.
UniqueFd Duplicate(uint32_t tid, int fd);

// The file behind a descriptor of the caller's (O_PATH), by its link: without a call that
// containers refuse (kernel-notes A5). ENOENT: there is no such descriptor.
UniqueFd OpenDescriptor(uint32_t tid, int number);

// Opens a path as the caller would see it, without following anything out of its root. `uid` and
// `gid`: as whom, so that root tells nobody what lies in folders that are not his to search.
UniqueFd OpenInside(uint32_t pid, const std::string& path, uint64_t flags, uid_t uid = 0,
                    gid_t gid = 0);

// Where an open file of ours lies, or leads; empty where that cannot be told.
std::string PlaceOf(int file);

// 0 where that cannot be told.
uint64_t InodeOf(int file);

// Whether a path is a folder, or lies in it.
bool IsWithin(const std::string& path, const std::string& folder);

// A path of the caller's, from the folder that a link of /proc/PID (`/cwd`, `/fd/N`) leads to.
std::string Absolute(uint32_t pid, const char* folder, const std::string& path);

}  // namespace holdfast
