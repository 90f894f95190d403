// The tools' file operations. A path is judged by the kernel: every component is opened by
// O_NOFOLLOW from the folder that was opened before it, links are followed by hand, and all of it
// runs behind the tool's own Landlock layer, so a link swapped in half-way leads nowhere else.
// (openat2 would do it in one call, but the filter answers it ENOSYS: its mode lies in memory where
// no filter can see a set-uid bit.)
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../wire.h"
#include "setup.h"

namespace holdfast {

// Both run in a child forked for the call and send one FileResultMessage on the control socket;
// neither returns.
[[noreturn]] void OpenFile(const Setup& setup, const FileMessage& message, const char* strings,
                           size_t size);
[[noreturn]] void WriteFile(const Setup& setup, const FileMessage& message, const char* strings,
                            size_t size, int content_fd);

}  // namespace holdfast
