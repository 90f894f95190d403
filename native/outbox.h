// Packets on their way to an init.
#pragma once

#include <cstdint>
#include <vector>

#include "fd.h"

namespace holdfast {

// Sends one packet, or keeps it until the init has read those before it: whoever sends never waits.
// The init waits until what it reports is read, and the thread that reads it is the one that sends.
// Returns 0, or an errno. What is kept for an init that ends meanwhile is dropped.
int PostPacket(int control, std::vector<uint8_t> data, std::vector<UniqueFd> fds);

// Before `control` is closed: its number will be another's.
void DropPackets(int control);

}  // namespace holdfast
