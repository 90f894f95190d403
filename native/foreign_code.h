// Which programs have code mapped into them that their sandbox can write: seen when it is mapped,
// since what is mapped later on shows nothing of it (kernel-notes D1).
#pragma once

#include <linux/seccomp.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

#include "own_files.h"

namespace holdfast {

// What an exec made of a process: alike for its threads, for what shares its memory and for what it
// forked, and another after the next exec. 0 where it cannot be told.
//
// It is the auxiliary vector (/proc/TID/auxv) that the kernel keeps with the memory and copies at
// fork: the random places of stack, program, loader and vDSO stand in it. Only PR_SET_MM changes
// it, which the filter refuses. Without address randomisation on the host, runs of one program with
// the same arguments are alike: then too many are marked, never too few.
uint64_t ImageOf(uint32_t tid);

// Whether no two execs have the same image: their places are drawn at random here.
bool ImagesAreUnique();

// Whether a call that the kernel is about to make maps code of a file that the sandbox can write:
// mmap with PROT_EXEC or by the loader, mprotect or pkey_mprotect with PROT_EXEC. An errno where
// that cannot be told.
struct MappedCode {
  bool foreign = false;
  int error = 0;
};
MappedCode JudgeMapping(const seccomp_notif& notification, const OwnFiles& own);

// The loader that an open program names (PT_INTERP), empty where it names none; nothing where that
// cannot be told.
std::optional<std::string> LoaderOf(int program);

// Whether a range of a process, by its open /proc/PID/maps, holds memory of a file that is not
// executable yet. `asks`: by PROCMAP_QUERY, where the kernel has it (Linux 6.11).
bool HasUnseenFile(int maps, uint64_t begin, uint64_t end, bool asks = true);

// The images that are marked. Bounded: past that, all are.
class ForeignCode {
 public:
  void Mark(uint64_t image);
  bool Has(uint64_t image);

  // Whether the loader of an open program, of which a thread is, is the sandbox's: the kernel maps
  // it by itself when it executes the program. True where that cannot be told. It is looked at once
  // for each image, where those are unique.
  bool HasLoader(uint32_t tid, uint64_t image, int program, const OwnFiles& own);

 private:
  const bool are_unique_ = ImagesAreUnique();
  std::mutex mutex_;
  std::unordered_set<uint64_t> looked_at_;
  std::unordered_set<uint64_t> images_;
  bool full_ = false;
};

}  // namespace holdfast
