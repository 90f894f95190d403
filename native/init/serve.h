// The init's life after the walls stand: takes requests, starts children, reaps, reports.
#pragma once

#include "cgroup_events.h"
#include "setup.h"

namespace holdfast {

// Returns when the launcher is gone; the caller exits and the kernel ends everything in the pid
// namespace.
void Serve(const Setup& setup, const CgroupEvents& cgroup);

}  // namespace holdfast
