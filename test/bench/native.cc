// What the native layer adds to a bare start: one request packet with three descriptors, the init's
// vfork and exec, its exit record, waited for by a blocking read, against vfork and exec of the
// same program with the same environment.
//
//   native ROUNDS WARM-UP < request    descriptor 3: the control socket, 4: the records, of a ready
//   sandbox
//
// Prints four numbers, in microseconds: median and minimum of the request, then of the bare start.

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "fdpass.h"
#include "wire.h"

namespace {

using holdfast::Event;
using holdfast::EventType;
using holdfast::ExecMessage;

alignas(16) char child_stack[64 * 1024];

struct Program {
  const char* file;
  char** argv;
  char** envp;
};

[[noreturn]] void Die(const char* what) {
  perror(what);
  exit(1);
}

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

int Child(void* pointer) {
  auto* program = static_cast<Program*>(pointer);
  execve(program->file, program->argv, program->envp);
  _exit(127);
}

double Bare(Program* program) {
  double began = Now();
  pid_t pid =
      clone(Child, child_stack + sizeof child_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, program);
  if (pid < 0) Die("clone");
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  double took = Now() - began;
  if (status != 0) Die("the bare child");
  return took;
}

double Confined(std::vector<char>* request, const int* fds) {
  static uint32_t id = 1u << 30;
  id++;
  memcpy(request->data() + offsetof(ExecMessage, id), &id, sizeof id);
  double began = Now();
  int error =
      holdfast::SendPacket(holdfast::kControlFd, request->data(), request->size(), fds, 3, 0);
  if (error != 0) {
    errno = error;
    Die("sendmsg");
  }
  for (;;) {
    Event event{};
    size_t have = 0;
    while (have < sizeof event) {
      ssize_t size =
          read(holdfast::kEventsFd, reinterpret_cast<char*>(&event) + have, sizeof event - have);
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) Die("read");
      have += static_cast<size_t>(size);
    }
    if (event.id != id) continue;
    if (event.type == EventType::kFailed) {
      errno = event.value;
      Die("the confined child did not start");
    }
    if (event.type != EventType::kExited) continue;
    double took = Now() - began;
    if (event.value != 0) Die("the confined child");
    return took;
  }
}

void Print(std::vector<double>* times) {
  std::sort(times->begin(), times->end());
  printf("%.3f %.3f\n", (*times)[times->size() / 2], times->front());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  long rounds = atol(argv[1]);
  long warm_up = atol(argv[2]);
  std::vector<char> request(256 * 1024);
  size_t size = 0;
  for (ssize_t got; (got = read(0, request.data() + size, request.size() - size)) > 0;)
    size += static_cast<size_t>(got);
  request.resize(size);
  if (size <= sizeof(ExecMessage)) return 2;
  ExecMessage header;
  memcpy(&header, request.data(), sizeof header);
  // file, folder, search path, then the arguments and the environment
  std::vector<char> text(request.begin() + sizeof header, request.end());
  std::vector<char*> strings;
  for (char* at = text.data(); at < text.data() + text.size(); at += strlen(at) + 1)
    strings.push_back(at);
  if (strings.size() != 3u + header.argc + header.envc) return 2;
  std::vector<char*> arguments(strings.begin() + 3, strings.begin() + 3 + header.argc);
  arguments.push_back(nullptr);
  std::vector<char*> environment(strings.begin() + 3 + header.argc, strings.end());
  environment.push_back(nullptr);
  Program program{strings[0], arguments.data(), environment.data()};

  // Node has made the records' end non-blocking; the flag belongs to the open file, so it is put
  // back at the end.
  int flags = fcntl(holdfast::kEventsFd, F_GETFL);
  if (flags < 0 || fcntl(holdfast::kEventsFd, F_SETFL, flags & ~O_NONBLOCK) != 0) Die("fcntl");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) Die("/dev/null");
  const int fds[3] = {null, null, null};
  std::vector<double> confined;
  std::vector<double> bare;
  srand(static_cast<unsigned>(time(nullptr)));
  for (long round = -warm_up; round < rounds; round++) {
    bool first = rand() % 2 == 0;
    double one = first ? Confined(&request, fds) : Bare(&program);
    double other = first ? Bare(&program) : Confined(&request, fds);
    if (round < 0) continue;
    confined.push_back(first ? one : other);
    bare.push_back(first ? other : one);
  }
  fcntl(holdfast::kEventsFd, F_SETFL, flags);
  Print(&confined);
  Print(&bare);
  return 0;
}
