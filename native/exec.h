// The launcher's side of a call: pipes, the request packet, descriptors that come back.
#pragma once

#include <cstdint>
#include <vector>

#include "fd.h"
#include "result.h"

namespace holdfast {

enum class Stdio : uint32_t { kNull = 0, kPipe = 1, kPty = 2, kMerge = 3 };

struct CallRequest {
  std::vector<uint8_t>
      message;  // ExecMessage or FileMessage with its strings, as lib/sandbox/requests.ts made it
  Stdio stdio[3] = {Stdio::kNull, Stdio::kNull, Stdio::kNull};
};

struct CallPipes {
  UniqueFd ends[3];  // ours: write end of 0, read ends of 1 and 2; non-blocking
};

// Sends an exec request. A request longer than a packet goes by a sealed memfd.
Status SendExec(int control, const CallRequest& request, CallPipes* pipes);

// Sends any other request; `content` travels in a sealed memfd when it is not null.
Status SendRequest(int control, const void* data, size_t size, const void* content,
                   size_t content_size);

struct Received {
  std::vector<uint8_t> data;  // PtyMaster header or FileResultMessage
  UniqueFd fd;
};

// Takes one packet that is there already. False when none is.
bool ReceiveReply(int control, Received* received);

}  // namespace holdfast
