// What a native step came to: fine, or which call failed and why.
#pragma once

#include <string>

namespace holdfast {

struct [[nodiscard]] Status {
  std::string step;  // empty: fine
  std::string syscall;
  std::string path;
  int error = 0;
  int wall = 0;  // for the step "verify"; error 0 means that a forbidden thing succeeded
  bool Ok() const { return step.empty(); }
  static Status Fine() { return {}; }
  static Status Failed(const char* step, const char* syscall, int error, std::string path = {}) {
    return {step, syscall, std::move(path), error, 0};
  }
};

}  // namespace holdfast
