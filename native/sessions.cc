#include "sessions.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "fd.h"

namespace holdfast {

namespace {

constexpr size_t kMostKnown = 4096;
constexpr int kDeepest = 64;

struct Standing {
  int32_t session;  // as the process itself numbers it
  int32_t parent;   // as we see it
};

// proc_pid_status(5). The last number of NSsid is the innermost namespace's.
Standing Look(int32_t tid) {
  UniqueFd fd(open(("/proc/" + std::to_string(tid) + "/status").c_str(), O_RDONLY | O_CLOEXEC));
  char text[4096];
  ssize_t size = fd.Valid() ? read(fd.Get(), text, sizeof text - 1) : -1;
  if (size <= 0) return {0, 0};
  text[size] = 0;
  const char* parent = strstr(text, "\nPPid:");
  const char* line = strstr(text, "\nNSsid:");
  if (parent == nullptr || line == nullptr) return {0, 0};
  const char* end = strchrnul(line + 1, '\n');
  while (end[-1] >= '0' && end[-1] <= '9') end--;
  return {atoi(end), atoi(parent + strlen("\nPPid:"))};
}

}  // namespace

int32_t Sessions::Of(int32_t tid) {
  Standing own = Look(tid);
  int32_t session = own.session;
  std::lock_guard<std::mutex> lock(mutex_);
  // Up to the call. What a session was started from does not change, but can only be seen while the
  // processes between are alive.
  for (int depth = 0; own.session != 0 && started_from_.count(own.session) == 0;) {
    Standing above = own;
    while (above.session == own.session && above.parent != init_pid_ && depth++ < kDeepest)
      above = Look(above.parent);
    if (above.session == own.session || above.session == 0) break;
    if (started_from_.size() >= kMostKnown) started_from_.clear();
    started_from_[own.session] = above.session;
    own = above;
  }
  return session;
}

std::vector<int32_t> Sessions::Chain(int32_t session) {
  std::vector<int32_t> chain;
  std::lock_guard<std::mutex> lock(mutex_);
  while (session != 0 && std::find(chain.begin(), chain.end(), session) == chain.end()) {
    chain.push_back(session);
    auto found = started_from_.find(session);
    session = found == started_from_.end() ? 0 : found->second;
  }
  return chain;
}

}  // namespace holdfast
