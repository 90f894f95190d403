#include "foreign_code.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "caller.h"
#include "fd.h"
#include "kernel.h"

namespace holdfast {

namespace {

constexpr size_t kMostImages = 1 << 18;
constexpr size_t kMostLookedAt = 4096;
constexpr unsigned long kAskPersonality = 0xffffffff;

}  // namespace

uint64_t ImageOf(uint32_t tid) {
  UniqueFd file(open(ProcPath(tid, "/auxv").c_str(), O_RDONLY | O_CLOEXEC));
  uint64_t words[128];
  ssize_t size = file.Valid() ? read(file.Get(), words, sizeof words) : -1;
  if (size <= 0) return 0;
  uint64_t hash = 14695981039346656037u;  // FNV-1a by words, mixed: nobody chooses them
  for (size_t i = 0; i < static_cast<size_t>(size) / sizeof *words; i++) {
    hash = (hash ^ words[i]) * 1099511628211u;
    hash ^= hash >> 29;
  }
  return hash == 0 ? 1 : hash;
}

// Such a file was not looked at when it was mapped, and hardly any program does this.
bool HasUnseenFile(int maps, uint64_t begin, uint64_t end, bool asks) {
  ProcmapQuery query{};
  query.size = sizeof query;
  query.query_addr = begin;
  while (asks) {
    query.query_flags = kProcmapCoveringOrNext | kProcmapFileBacked;
    if (ioctl(maps, kProcmapQuery, &query) != 0) {
      if (errno == ENOENT) return false;
      break;
    }
    if (query.vma_start >= end) return false;
    if ((query.vma_flags & kProcmapExecutable) == 0) return true;
    query.query_addr = query.vma_end;
  }
  // The lines, which are in order.
  UniqueFd copy(fcntl(maps, F_DUPFD_CLOEXEC, 0));
  std::unique_ptr<FILE, int (*)(FILE*)> lines(fdopen(copy.Get(), "r"), fclose);
  if (lines == nullptr) return true;
  copy.Release();
  char* line = nullptr;
  size_t room = 0;
  bool found = false;
  while (!found && getline(&line, &room, lines.get()) > 0) {
    unsigned long long from = 0;
    unsigned long long to = 0;
    unsigned long long inode = 0;
    char rights[5] = "";
    if (sscanf(line, "%llx-%llx %4s %*s %*s %llu", &from, &to, rights, &inode) != 4) continue;
    if (from >= end) break;
    found = to > begin && inode != 0 && rights[2] != 'x';
  }
  free(line);
  return found;
}

MappedCode JudgeMapping(const seccomp_notif& notification, const OwnFiles& own) {
  const auto& [number, arch, pointer, args] = notification.data;
  MappedCode found;
  if (number == SYS_mmap) {
    UniqueFd file = OpenDescriptor(notification.pid, static_cast<int>(args[4]));
    if (!file.Valid()) found.error = errno == ENOENT ? EBADF : EACCES;
    found.foreign = file.Valid() && own.Has(file.Get());
  } else {
    UniqueFd maps(open(ProcPath(notification.pid, "/maps").c_str(), O_RDONLY | O_CLOEXEC));
    auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    uint64_t end = args[0] + ((args[1] + page - 1) & ~(page - 1));
    if (end < args[0]) end = UINT64_MAX;  // the kernel refuses it
    if (!maps.Valid()) found.error = EACCES;
    found.foreign = maps.Valid() && HasUnseenFile(maps.Get(), args[0], end);
  }
  return found;
}

std::optional<std::string> LoaderOf(int program) {
  UniqueFd file(open(("/proc/self/fd/" + std::to_string(program)).c_str(), O_RDONLY | O_CLOEXEC));
  Elf64_Ehdr head;
  if (pread(file.Get(), &head, sizeof head, 0) != sizeof head) return {};
  if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64) return {};
  for (size_t i = 0; i < head.e_phnum; i++) {
    Elf64_Phdr part;
    auto at = static_cast<off_t>(head.e_phoff + i * head.e_phentsize);
    if (pread(file.Get(), &part, sizeof part, at) != sizeof part) return {};
    if (part.p_type != PT_INTERP) continue;
    char path[PATH_MAX] = {};
    if (part.p_filesz < 2 || part.p_filesz > sizeof path) return {};
    auto size = static_cast<ssize_t>(part.p_filesz);
    if (pread(file.Get(), path, part.p_filesz, static_cast<off_t>(part.p_offset)) != size)
      return {};
    if (path[0] != '/' || path[size - 1] != 0) return {};
    return path;
  }
  return "";
}

void ForeignCode::Mark(uint64_t image) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (images_.size() < kMostImages)
    images_.insert(image);
  else if (images_.count(image) == 0)
    full_ = true;
}

bool ForeignCode::Has(uint64_t image) {
  std::lock_guard<std::mutex> lock(mutex_);
  return image == 0 || full_ || images_.count(image) != 0;
}

// Nothing inside may ask the kernel not to draw them: the filter refuses it (personality(2)).
bool ImagesAreUnique() {
  UniqueFd file(open("/proc/sys/kernel/randomize_va_space", O_RDONLY | O_CLOEXEC));
  char digit = 0;
  return (personality(kAskPersonality) & ADDR_NO_RANDOMIZE) == 0 &&
         read(file.Get(), &digit, 1) == 1 && digit == '2';
}

bool ForeignCode::HasLoader(uint32_t tid, uint64_t image, int program, const OwnFiles& own) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (looked_at_.count(image) != 0) return false;
  }
  std::optional<std::string> path = LoaderOf(program);
  if (!path.has_value()) return true;
  if (!path->empty()) {
    // What lies at its path now may be another than what it was executed with.
    UniqueFd loader = OpenInside(tid, *path, O_PATH);
    if (!loader.Valid() || own.HasPath(*path) || own.Has(loader.Get())) return true;
  }
  if (!are_unique_) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  if (looked_at_.size() >= kMostLookedAt) looked_at_.clear();
  looked_at_.insert(image);
  return false;
}

}  // namespace holdfast
