#include "program.h"

#include <string.h>

namespace holdfast {

bool ProgramReader::Next(Operation* operation) {
  if (at_ == size_) return false;
  malformed_ = true;
  OpHeader header;
  if (size_ - at_ < sizeof header) return false;
  memcpy(&header, data_ + at_, sizeof header);
  if (header.length < sizeof header || header.length % 8 != 0 || header.length > size_ - at_)
    return false;
  if (header.number_count > kMaxOperationNumbers || header.string_count > kMaxOperationStrings)
    return false;
  const uint8_t* cursor = data_ + at_ + sizeof header;
  size_t left = header.length - sizeof header;
  size_t number_bytes = header.number_count * sizeof(uint64_t);
  if (number_bytes > left) return false;
  operation->code = static_cast<OpCode>(header.code);
  operation->index = header.index;
  operation->number_count = header.number_count;
  operation->string_count = header.string_count;
  // Aligned: the memfd is mapped at a page, every operation is a multiple of 8, and so is the
  // header.
  operation->numbers = reinterpret_cast<const uint64_t*>(cursor);
  cursor += number_bytes;
  left -= number_bytes;
  for (int i = 0; i < header.string_count; i++) {
    uint32_t size;
    if (left < sizeof size) return false;
    memcpy(&size, cursor, sizeof size);
    size_t padded = (sizeof size + static_cast<size_t>(size) + 1 + 7) & ~static_cast<size_t>(7);
    if (padded > left || cursor[sizeof size + size] != 0) return false;
    operation->strings[i] = {reinterpret_cast<const char*>(cursor + sizeof size), size};
    cursor += padded;
    left -= padded;
  }
  if (left != 0) return false;
  at_ += header.length;
  malformed_ = false;
  return true;
}

}  // namespace holdfast
