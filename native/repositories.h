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

struct Repositories {
  std::vector<Repository> found;  // nearest first
  bool complete = true;           // false: there are more folders than were looked at
};

// Looks at no more than `most` folders, nearest first, those that programs fill (node_modules)
// last. No link is followed: others may be changing the tree.
Repositories FindRepositories(const std::string& root, size_t most);

// Every name, relative to the root, of regular files with these inode numbers.
std::vector<std::string> FindNames(const std::string& root, const std::set<uint64_t>& inodes,
                                   size_t most);

}  // namespace holdfast
