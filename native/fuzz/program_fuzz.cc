// The set-up program (init/program.h): whatever its bytes are, nothing is read beyond them, and
// what is read twice is the same.
#include <stdlib.h>

#include <vector>

#include "init/program.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As it is mapped: at a multiple of 8, and nothing of ours behind it.
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size != 0) __builtin_memcpy(aligned.data(), data, size);
  holdfast::ProgramReader reader(reinterpret_cast<const uint8_t*>(aligned.data()), size);
  static holdfast::Operation operation;
  size_t sums[2] = {};
  for (size_t& sum : sums) {
    while (reader.Next(&operation)) {
      sum += static_cast<size_t>(operation.code) + 1;
      for (int i = 0; i < operation.number_count; i++) sum += operation.numbers[i];
      for (int i = 0; i < operation.string_count; i++) {
        const holdfast::Text& text = operation.strings[i];
        if (text.data[text.size] != 0) abort();
        sum += __builtin_strlen(text.data);
      }
    }
    reader.Rewind();
  }
  if (sums[0] != sums[1]) abort();
  return 0;
}
