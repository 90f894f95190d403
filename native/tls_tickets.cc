#include "tls_tickets.h"

// OpenSSL's, as the executable exports them (nodejs.org, "C++ addons: linking to libraries included
// with Node.js"); weak, since Bun and Electron bring BoringSSL and Deno rustls.
extern "C" {
using NewExData = void(void* parent, void* value, void* data, int index, long number,
                       void* pointer);
[[gnu::weak]] int CRYPTO_get_ex_new_index(int of, long number, void* pointer, NewExData* made,
                                          void* duplicated, void* freed);
[[gnu::weak]] int SSL_CTX_set_num_tickets(void* context, size_t count);
}

namespace holdfast {
namespace {

constexpr int kIndexSslContext = 1;  // CRYPTO_EX_INDEX_SSL_CTX (openssl/crypto.h)

struct Made {
  bool looks = false;
  void* context = nullptr;
  size_t count = 0;
};

thread_local Made made;

// CRYPTO_get_ex_new_index(3): called for each SSL_CTX while it is made, on the thread that makes
// it.
void OnNew(void* parent, void*, void*, int, long, void*) {
  if (!made.looks) return;
  made.context = parent;
  made.count++;
}

}  // namespace

MadeTlsContext::MadeTlsContext() {
  // Once, and not by std::call_once, which binds to glibc 2.34.
  [[maybe_unused]] static const int index =
      CRYPTO_get_ex_new_index == nullptr
          ? -1
          : CRYPTO_get_ex_new_index(kIndexSslContext, 0, nullptr, OnNew, nullptr, nullptr);
  made = {true, nullptr, 0};
}

MadeTlsContext::~MadeTlsContext() { made = {}; }

void MadeTlsContext::StopTickets() {
  if (made.count == 1 && SSL_CTX_set_num_tickets != nullptr)
    SSL_CTX_set_num_tickets(made.context, 0);
}

}  // namespace holdfast
