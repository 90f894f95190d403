// The set-up program, read from a memfd: a flat list of operations that lib/plan/encode.ts wrote.
// Reading checks every length; a program that does not fit is refused whole.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../wire.h"

namespace holdfast {

constexpr int kMaxOperationNumbers = 1600;
constexpr int kMaxOperationStrings = 800;

struct Text {
  const char* data = "";
  uint32_t size = 0;  // without the NUL that follows
};

struct Operation {
  OpCode code{};
  uint32_t index = 0;
  int number_count = 0;
  int string_count = 0;
  const uint64_t* numbers = nullptr;
  Text strings[kMaxOperationStrings];
};

class ProgramReader {
 public:
  ProgramReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  // Reads the next operation. False at the end or when the program is malformed; Malformed() tells
  // which.
  bool Next(Operation* operation);
  bool Malformed() const { return malformed_; }
  void Rewind() { at_ = 0; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
  bool malformed_ = false;
};

}  // namespace holdfast
