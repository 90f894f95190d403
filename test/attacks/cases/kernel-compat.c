// title: make calls by the numbers of another architecture
// kind: kernel
// machine: x86_64
#include "attack.h"

static void attack(void) {
#if defined(__x86_64__)
  long result = 20;  // getpid of i386
  __asm__ volatile("int $0x80" : "+a"(result) : : "r8", "r9", "r10", "r11", "memory");
  if (result == getpid()) escaped("i386 by int 0x80");
  long x32 = syscall(0x40000000 | SYS_getpid);
  if (x32 == getpid()) escaped("x32");
#endif
}
