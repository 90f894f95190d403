// Makes raw system calls and prints what each came to: `RESULT ERRNO` a line. Nothing of the C library's stands between
// the arguments and the kernel.
//
//   victim NUMBER ARGUMENT... [, NUMBER ARGUMENT...]...
//
// An argument is a number (any base that strtoull knows, or negative), b:HEX (the address of these bytes), z:SIZE (the
// address of that many zero bytes) or r:N (what the N-th call before this one came to, from 0).
// A number with `i386:` before it is made by int 0x80.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long results[64];
static int count;

static uint64_t value(const char* text) {
  if (strncmp(text, "r:", 2) == 0) return (uint64_t)results[atoi(text + 2)];
  if (strncmp(text, "z:", 2) == 0) return (uint64_t)(uintptr_t)calloc(1, strtoul(text + 2, NULL, 0) + 1);
  if (strncmp(text, "b:", 2) == 0) {
    size_t size = strlen(text + 2) / 2;
    unsigned char* bytes = calloc(1, size + 1);
    for (size_t i = 0; i < size; i++) {
      char pair[3] = {text[2 + 2 * i], text[3 + 2 * i], 0};
      bytes[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return (uint64_t)(uintptr_t)bytes;
  }
  return text[0] == '-' ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
}

#if defined(__x86_64__)
static long call(uint64_t number, const uint64_t* a) {
  register uint64_t r10 __asm__("r10") = a[3];
  register uint64_t r8 __asm__("r8") = a[4];
  register uint64_t r9 __asm__("r9") = a[5];
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static long call_i386(uint64_t number, const uint64_t* a) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                   : "r8", "r9", "r10", "r11", "memory");
  return (int)result;
}
#elif defined(__aarch64__)
static long call(uint64_t number, const uint64_t* a) {
  register uint64_t x8 __asm__("x8") = number;
  register uint64_t x0 __asm__("x0") = a[0];
  register uint64_t x1 __asm__("x1") = a[1];
  register uint64_t x2 __asm__("x2") = a[2];
  register uint64_t x3 __asm__("x3") = a[3];
  register uint64_t x4 __asm__("x4") = a[4];
  register uint64_t x5 __asm__("x5") = a[5];
  __asm__ volatile("svc #0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return (long)x0;
}

static long call_i386(uint64_t number, const uint64_t* a) {
  (void)number;
  (void)a;
  return -ENOSYS;
}
#endif

int main(int argc, char** argv) {
  alarm(5);  // a call that waits for ever ends the victim
  for (int i = 1; i < argc; i++) {
    const char* number = argv[i];
    uint64_t arguments[6] = {0};
    int given = 0;
    for (i++; i < argc && strcmp(argv[i], ",") != 0; i++)
      if (given < 6) arguments[given++] = value(argv[i]);
    long result = strncmp(number, "i386:", 5) == 0 ? call_i386(strtoull(number + 5, NULL, 0), arguments)
                                                   : call(strtoull(number, NULL, 0), arguments);
    int failed = result < 0 && result > -4096;
    results[count++ & 63] = result;
    printf("%ld %d\n", failed ? -1 : result, failed ? (int)-result : 0);
    fflush(stdout);
  }
  return 0;
}
