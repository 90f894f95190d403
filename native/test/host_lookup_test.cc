#include "host_lookup.h"

#include <doctest/doctest.h>
#include <netdb.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

using holdfast::HostLookup;
using holdfast::LookUpHost;

TEST_CASE("A name has its addresses, each once, and one that is none says so") {
  HostLookup found;
  CHECK(LookUpHost("localhost", &found).Ok());
  CHECK(found.code == 0);
  CHECK(std::count(found.addresses.begin(), found.addresses.end(), "127.0.0.1") == 1);

  HostLookup none;
  CHECK(LookUpHost("no name at all", &none).Ok());
  CHECK(none.code != 0);
  CHECK(!none.words.empty());
  CHECK(none.addresses.empty());
}

TEST_CASE("However many lookups wait, one more is made") {
  constexpr int kMany = 50;
  std::mutex mutex;
  std::condition_variable turn;
  int waiting = 0;
  for (int i = 0; i <= kMany; i++) {
    holdfast::OnLookupThread([&] {
      std::unique_lock<std::mutex> lock(mutex);
      waiting++;
      turn.notify_all();
      turn.wait(lock, [&] { return waiting > kMany; });
      waiting++;
      turn.notify_all();
    });
  }
  std::unique_lock<std::mutex> lock(mutex);
  turn.wait(lock, [&] { return waiting == 2 * (kMany + 1); });
  CHECK(waiting == 2 * (kMany + 1));
}
