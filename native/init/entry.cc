// Where the init starts: before libc has set itself up, which takes longer than it should where
// CPUID traps to a hypervisor. The network namespace's thread is on its way by then.

#include "network.h"

namespace {

bool Equal(const char* a, const char* b) {
  while (*a != 0 && *a == *b) {
    a++;
    b++;
  }
  return *a == *b;
}

}  // namespace

// `stack` is as the kernel left it: argc, then argv (System V ABI, execve(2)). No libc, no
// thread-local storage and so no stack protector.
extern "C" __attribute__((used, optimize("no-stack-protector"))) void HoldfastEarly(
    const long* stack) {
  long argc = stack[0];
  const auto* argv = reinterpret_cast<const char* const*>(stack + 1);
  if (argc == 2 && Equal(argv[1], "network")) holdfast::BeginNetworkNamespace();
}

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl holdfast_start\n"
    ".type holdfast_start, @function\n"
    "holdfast_start:\n"
    "  endbr64\n"
    "  movq %rsp, %rbx\n"
    "  movq %rdx, %r12\n"
    "  movq %rsp, %rdi\n"
    "  andq $-16, %rsp\n"
    "  call HoldfastEarly\n"
    "  movq %rbx, %rsp\n"
    "  movq %r12, %rdx\n"
    "  jmp _start\n"
    ".size holdfast_start, . - holdfast_start\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl holdfast_start\n"
    ".type holdfast_start, %function\n"
    "holdfast_start:\n"
    "  mov x19, x0\n"
    "  mov x0, sp\n"
    "  bl HoldfastEarly\n"
    "  mov x0, x19\n"
    "  b _start\n"
    ".size holdfast_start, . - holdfast_start\n");
#endif
