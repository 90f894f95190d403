// Where the kernel starts the init: no C library has set anything up, and none does (libc.cc).
#include <stdint.h>

#include "raw_syscall.h"

extern "C" {
int main(int argc, char** argv);
// The compiler's stack protector compares against this (-mstack-protector-guard=global).
__attribute__((visibility("hidden"), used)) uintptr_t __stack_chk_guard = 0;
// For sysconf(3).
__attribute__((visibility("hidden"))) long holdfast_page_size = 4096;
}

extern "C" [[noreturn]] __attribute__((used)) void __stack_chk_fail() {
  for (;;) holdfast::RawSyscall(SYS_exit_group, 134);
}

// `stack` is as the kernel left it: argc, argv, the environment and the auxiliary vector, each
// ended by a zero (System V ABI, getauxval(3)).
extern "C" [[noreturn]] __attribute__((used, optimize("no-stack-protector"))) void HoldfastStart(
    const long* stack) {
  auto argc = static_cast<int>(stack[0]);
  const long* at = stack + 1 + argc + 1;
  while (*at != 0) at++;
  // linux/auxvec.h
  constexpr long kAtPageSize = 6;
  constexpr long kAtRandom = 25;  // the address of 16 random bytes
  for (at++; at[0] != 0; at += 2) {
    if (at[0] == kAtPageSize) holdfast_page_size = at[1];
    if (at[0] == kAtRandom) __stack_chk_guard = *reinterpret_cast<const uintptr_t*>(at[1]);
  }
  int status = main(argc, const_cast<char**>(reinterpret_cast<const char* const*>(stack + 1)));
  for (;;) holdfast::RawSyscall(SYS_exit_group, status);
}

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "  endbr64\n"
    "  xorl %ebp, %ebp\n"
    "  movq %rsp, %rdi\n"
    "  andq $-16, %rsp\n"
    "  call HoldfastStart\n"
    "  ud2\n"
    ".size _start, . - _start\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "  mov x29, #0\n"
    "  mov x0, sp\n"
    "  bl HoldfastStart\n"
    "  brk 0\n"
    ".size _start, . - _start\n");
#endif
