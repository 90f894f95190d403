// TLS session tickets of the OpenSSL that Node brings, of which Node's own interface can only say
// what they are made with.
#pragma once

#include <stddef.h>

namespace holdfast {

// While it lives, what this thread makes as an SSL_CTX is looked for: one of Node's own cannot be
// got at in any other way that OpenSSL or Node documents.
class MadeTlsContext {
 public:
  MadeTlsContext();
  ~MadeTlsContext();
  MadeTlsContext(const MadeTlsContext&) = delete;
  MadeTlsContext& operator=(const MadeTlsContext&) = delete;

  // Has the one that was made, and lives, send no tickets (SSL_CTX_set_num_tickets(3)). Changes
  // nothing where there is none or more than one, or where the runtime's TLS is not OpenSSL's.
  void StopTickets();
};

}  // namespace holdfast
