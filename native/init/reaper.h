// Clears away what a launcher leaves on disk when it is killed: a process of its own session that
// holds the launcher's pidfd and a list of what to remove.
#pragma once

namespace holdfast {

// Serves until the launcher is gone and all it had registered is cleared. Returns the exit status.
int Reap();

}  // namespace holdfast
