// Names as this host resolves them (getaddrinfo(3)), each on a thread of its own: a name whose
// servers are silent keeps one for ten seconds and more, and libuv has two for all of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "result.h"

namespace holdfast {

struct HostLookup {
  int code = 0;       // of getaddrinfo(3)
  std::string words;  // gai_strerror(3)
  std::vector<std::string> addresses;
};

Status LookUpHost(const std::string& name, HostLookup* found);

// Throws std::system_error where this user has as many threads as it may have.
void OnLookupThread(const std::function<void()>& work);

}  // namespace holdfast
