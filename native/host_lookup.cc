#include "host_lookup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "threads.h"

namespace holdfast {

Status LookUpHost(const std::string& name, HostLookup* found) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;  // else each address comes once for each kind
  addrinfo* list = nullptr;
  found->code = getaddrinfo(name.c_str(), nullptr, &hints, &list);
  if (found->code != 0) {
    found->words = found->code == EAI_SYSTEM ? strerror(errno) : gai_strerror(found->code);
    return Status::Fine();
  }
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    char text[INET6_ADDRSTRLEN];
    const void* address =
        each->ai_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(each->ai_addr)->sin_addr)
            : &reinterpret_cast<sockaddr_in6*>(each->ai_addr)->sin6_addr;
    if (inet_ntop(each->ai_family, address, text, sizeof text) != nullptr)
      found->addresses.emplace_back(text);
  }
  freeaddrinfo(list);
  return Status::Fine();
}

void OnLookupThread(const std::function<void()>& work) {
  static auto* threads = new KeptThreads("holdfast-names");
  threads->Post(work);
}

}  // namespace holdfast
