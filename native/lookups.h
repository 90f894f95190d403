// Where links lead, where a process stands, and what happens in a folder: no right of Landlock's,
// so that without a mount namespace the broker answers readlink(2), getcwd(2) and
// inotify_add_watch(2), and tells nothing of what is not granted.
#pragma once

#include <linux/seccomp.h>

#include <memory>
#include <string>
#include <vector>

#include "fd.h"
#include "notified.h"
#include "territory.h"

namespace holdfast {

class Lookups {
 public:
  Lookups(std::shared_ptr<NotifiedCalls> calls, std::shared_ptr<const Territory> territory,
          int init_pid);

  // Answers it; `refusal` is the errno for what is out of reach.
  void Answer(const seccomp_notif& notification, int refusal);

  // Of an open that Landlock will refuse: what it is of, `file` (O_PATH), or where it would be
  // made.
  void NoteRefusal(int number, int file, const std::string& path, int flags, bool writes);

 private:
  void AnswerText(const seccomp_notif& notification, int refusal);
  int Target(const seccomp_notif& notification, int refusal, std::string* text);
  int CurrentFolder(const seccomp_notif& notification, int refusal, std::string* text);
  int OfProcess(uint32_t tid, int file, const std::string& place, int refusal, std::string* text);
  int Watch(const seccomp_notif& notification, int refusal, int* watch);
  void MakeWatcher(const seccomp_notif& notification);
  bool IsGranted(const std::string& path) const;
  // Granted, or above what is: its name is known.
  bool IsKnown(const std::string& path) const;

  const int init_pid_;
  const std::shared_ptr<NotifiedCalls> calls_;
  const std::shared_ptr<const Territory> territory_;
  std::vector<std::string> granted_;
};

}  // namespace holdfast
