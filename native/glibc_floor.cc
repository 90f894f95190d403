// Keeps the addon loadable on glibc 2.28 and the libstdc++ of GCC 8, the oldest that Node itself
// runs on, wherever it was built: a newer builder's headers bind to newer versions of these
// symbols, so the addon brings its own, which exports.map keeps to itself.
// test/package/floor.test.ts says when another one has come in.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <new>

namespace {

// On the 64-bit systems that we build for, struct stat is the kernel's own.
int StatAt(int folder, const char* path, void* out, int flags) {
  return static_cast<int>(syscall(SYS_newfstatat, folder, path, out, flags));
}

constexpr int64_t kNanosecondsPerSecond = 1000000000;

}  // namespace

extern "C" {

// glibc 2.32. Read by shared_ptr: never single-threaded, so every count is atomic.
char __libc_single_threaded = 0;

// glibc 2.33: inline wrappers before.
#undef stat64
#undef lstat64
#undef fstat64
#undef fstatat64
int stat64(const char* path, struct stat64* out) noexcept { return StatAt(AT_FDCWD, path, out, 0); }
int lstat64(const char* path, struct stat64* out) noexcept {
  return StatAt(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
int fstat64(int fd, struct stat64* out) noexcept { return StatAt(fd, "", out, AT_EMPTY_PATH); }
int fstatat64(int folder, const char* path, struct stat64* out, int flags) noexcept {
  return StatAt(folder, path, out, flags);
}

// glibc 2.32 and 2.34: moved from libpthread to libc, with new versions.
int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept {
  sigset_t allowed;
  if (set != nullptr && how != SIG_UNBLOCK) {
    // nptl(7): the two signals of the C library's own are never blocked.
    allowed = *set;
    auto* words = reinterpret_cast<unsigned long*>(&allowed);
    words[0] &= ~((1UL << 31) | (1UL << 32));
    set = &allowed;
  }
  return syscall(SYS_rt_sigprocmask, how, set, old, _NSIG / 8) == 0 ? 0 : errno;
}
int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  if (pthread_equal(thread, pthread_self()) == 0) return ENOSYS;
  return prctl(PR_SET_NAME, name, 0, 0, 0) == 0 ? 0 : errno;
}

// glibc 2.30. Before it, libstdc++ waited on the clock of the day as this does.
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const struct timespec* until) {
  struct timespec now;
  struct timespec day;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &day);
  int64_t nanoseconds = until->tv_nsec - now.tv_nsec + day.tv_nsec;
  int64_t seconds = until->tv_sec - now.tv_sec + day.tv_sec;
  seconds += nanoseconds / kNanosecondsPerSecond;
  nanoseconds %= kNanosecondsPerSecond;
  if (nanoseconds < 0) {
    nanoseconds += kNanosecondsPerSecond;
    seconds -= 1;
  }
  const struct timespec deadline = {seconds, nanoseconds};
  return pthread_cond_timedwait(condition, mutex, &deadline);
}

}  // extern "C"

// GCC 11 and GCC 12. By their mangled names: what headers declare of them changed between versions.
[[noreturn]] void ThrowBadArrayNewLength() __asm__("_ZSt28__throw_bad_array_new_lengthv");
void ThrowBadArrayNewLength() { throw std::bad_array_new_length(); }

void WaitOnCondition(std::condition_variable* self, std::unique_lock<std::mutex>* lock) __asm__(
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE");
void WaitOnCondition(std::condition_variable* self, std::unique_lock<std::mutex>* lock) {
  pthread_cond_wait(self->native_handle(), lock->mutex()->native_handle());
}
