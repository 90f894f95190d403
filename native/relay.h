// Connections whose bytes nobody has to read on their way: from one socket to the other, both ways,
// on a thread of the addon's.
#pragma once

#include <cstdint>
#include <functional>

#include "result.h"

namespace holdfast {

// Carries on between two connected TCP sockets, by duplicates: nobody else may read from them or
// write to them meanwhile. What one peer ends is ended for the other (shutdown(2), SHUT_WR).
// `ended` is called on that thread when both ways have ended, or when one failed and both
// connections were reset for it; the duplicates are closed by then. `owner` is whose it is.
Status StartRelay(int one, int other, const void* owner, std::function<void()> ended,
                  uint64_t* relay);

// Resets both connections: when it returns, nothing passes any more. One that has ended by itself
// is left as it is.
void ResetRelay(uint64_t relay);

// The same for all of an owner's, who is about to be gone.
void ResetRelaysOf(const void* owner);

}  // namespace holdfast
