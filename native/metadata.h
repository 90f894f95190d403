// Modes, owners, times and attributes of files: no right of Landlock's, so that without a mount
// namespace the broker looks where the file lies and makes the change itself (kernel-notes A4).
#pragma once

#include <linux/seccomp.h>

#include <memory>
#include <string>
#include <utility>

#include "notified.h"
#include "territory.h"

namespace holdfast {

class Metadata {
 public:
  Metadata(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<const Territory> territory)
      : calls_(std::move(calls)), territory_(std::move(territory)) {}

  // Answers it; `refusal` is the errno for what is not the sandbox's own.
  void Answer(const seccomp_notif& notification, int refusal);

 private:
  int Change(const seccomp_notif& notification, int refusal);

  const std::shared_ptr<NotifiedCalls> calls_;
  const std::shared_ptr<const Territory> territory_;
};

}  // namespace holdfast
