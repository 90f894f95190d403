// Finds secrets in what leaves, in the forms that they could be carried away in, in one pass.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <utility>
#include <vector>

#include "locked_memory.h"
#include "result.h"

namespace holdfast {

// A view of some bytes of somebody else's.
using View = std::pair<const uint8_t*, size_t>;

// Both what is looked for and what is looked at are read without what text is cut up with (white
// space, also as JSON writes it, quotes, brackets, colons and the like, NUL) and with percent
// escapes, JSON's \u00XX, \xXX and HTML's character references undone: a form is found however it
// is spelled or parted.
class FormSearch {
 public:
  // What is parted has a character between each two that is no separator elsewhere. The last two
  // are found as plain and reversed, where their first character is behind a backslash.
  enum Form : uint8_t {
    kPlain,
    kHex,
    kReversed,
    kBase64,
    kBase32,
    kDecimal,
    kOctal,
    kRot13,
    kParted,
    kMark,
    kRest,
    kReversedRest
  };
  struct Found {
    uint32_t secret;  // its index; of a mark, that among the marks
    Form form;
    size_t at;  // in the data, with what parts it
    size_t end;
  };
  // A shorter form would be met by chance.
  static constexpr size_t kShortest = 8;
  // Less of a form's beginning may stand anywhere, and nobody waits for the rest.
  static constexpr size_t kLeastBegun = 8;
  static constexpr size_t kShortestMark = 4;

  // Marks are no secrets: what a token begins with, of at least four bytes. The first of each is
  // found, and no other.
  Status Prepare(const std::vector<View>& secrets, const std::vector<View>& marks,
                 bool are_secret = true);
  void Wipe();

  // Where the last part of the data begins that more data may make a form of; its size where none
  // does.
  size_t Find(const uint8_t* data, size_t size, bool more, std::vector<Found>* found) const;

 private:
  static constexpr size_t kMapBits = 16;
  static constexpr size_t kSmallBits = 13;
  struct Needle {
    uint32_t key;  // its last four bytes
    uint32_t secret;
    uint32_t at;  // in the memory; of a mark, among their bytes
    uint32_t size;
    Form form;
  };
  // A secret that is mostly what texts are cut up with is found as it is alone.
  struct Verbatim {
    uint32_t secret;
    size_t at;  // in the memory
    size_t size;
  };

  template <size_t bits = kMapBits>
  static uint32_t BitOf(uint32_t key) {
    return (key * 2654435761U) >> (32 - bits);
  }
  template <size_t bits = kMapBits>
  static void Mark(uint64_t* map, uint32_t key) {
    const uint32_t bit = BitOf<bits>(key);
    map[bit / 64] |= uint64_t{1} << (bit % 64);
  }
  template <size_t bits = kMapBits>
  static bool Has(const uint64_t* map, uint32_t key) {
    const uint32_t bit = BitOf<bits>(key);
    return (map[bit / 64] >> (bit % 64) & 1) != 0;
  }
  void Add(uint32_t secret, Form form, const std::vector<uint8_t>& raw);
  void AddForms(uint32_t index, const View& secret);
  void AddMark(uint32_t index, const View& mark);
  size_t Begun(const uint8_t* text, size_t size) const;

  std::unique_ptr<LockedMemory>
      memory_;  // three maps, the needles' table, then their bytes: all tell of secrets
  size_t used_ = 0;
  Needle* needles_ = nullptr;
  size_t count_ = 0;
  // Marks are no secrets, and many: not in locked memory.
  std::vector<Needle> marks_;
  std::vector<uint8_t> mark_bytes_;
  std::vector<uint32_t>
      waited_for_;  // by its place: a long form, whose beginning waits for the rest
  std::vector<Verbatim> verbatim_;
  size_t longest_ = 0;          // of these
  uint64_t* map_ = nullptr;     // of keys, those of marks too
  uint64_t* keys_ = nullptr;    // of those of secrets alone
  uint64_t* begins_ = nullptr;  // of the first four bytes of what is waited for
};

}  // namespace holdfast
