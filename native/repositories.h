// Finds what a tree hides: the folders that git takes for a repository, the other names of a file.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <set>
#include <string>
#include <vector>

namespace holdfast {

struct Repository {
  std::string path;  // relative to the root; empty for the root itself
  bool bare;         // it is one without a .git: HEAD, objects and refs lie in it
};

// One that kept its owner out, and does no more.
struct OpenedFolder {
  std::string path;
  uint32_t mode;  // that it had
};

struct Repositories {
  std::vector<Repository> found;  // nearest first
  bool complete = true;           // false: there are more folders than were looked at
  std::vector<OpenedFolder> opened;
};

// Looks at no more than `most` folders, nearest first, those that programs fill (node_modules)
// last. No link is followed: others may be changing the tree.
//
// `since` (in nanoseconds since 1970): folders of this user's whose mode keeps him out of them, and
// that were changed since, are opened to him, those of git in repositories as well: what is shut
// away can still be run by its path. Below 0: none is.
Repositories FindRepositories(const std::string& root, size_t most, int64_t since = -1);

// Every name, relative to the root, of regular files with these inode numbers.
std::vector<std::string> FindNames(const std::string& root, const std::set<uint64_t>& inodes,
                                   size_t most);

}  // namespace holdfast
