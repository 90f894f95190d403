#include "form_search.h"

#include <string.h>

#include <algorithm>
#include <array>

namespace holdfast {

namespace {

enum Kind : uint8_t { kSeparator, kText, kPercent, kBackslash };

constexpr std::array<uint8_t, 256> MakeKinds() {
  std::array<uint8_t, 256> kinds{};
  for (auto& kind : kinds) kind = kText;
  for (const char each : {' ', '\t', '\n', '\v', '\f', '\r', '\0', '"', '\'', '`', ',', ';',
                          ':', '+',  '|',  '[',  ']',  '(',  ')',  '{', '}',  '<', '>'})
    kinds[static_cast<uint8_t>(each)] = kSeparator;
  kinds['%'] = kPercent;
  kinds['\\'] = kBackslash;
  return kinds;
}

constexpr uint8_t kNoDigit = 255;

constexpr std::array<uint8_t, 256> MakeDigits() {
  std::array<uint8_t, 256> digits{};
  for (auto& digit : digits) digit = kNoDigit;
  uint8_t value = 0;
  for (const char each : {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9'})
    digits[static_cast<uint8_t>(each)] = value++;
  for (const char each : {'a', 'b', 'c', 'd', 'e', 'f'})
    digits[static_cast<uint8_t>(each)] = value++;
  value = 10;
  for (const char each : {'A', 'B', 'C', 'D', 'E', 'F'})
    digits[static_cast<uint8_t>(each)] = value++;
  return digits;
}

constexpr std::array<uint8_t, 256> kKinds = MakeKinds();
constexpr std::array<uint8_t, 256> kDigits = MakeDigits();

// Or a tabulator, behind a backslash.
constexpr bool IsLineEnd(uint8_t letter) { return letter == 'n' || letter == 'r' || letter == 't'; }

// The size of the escape that begins here, and the byte that it stands for; without one where it
// only parts what stands beside it; 0 where it is cut off.
inline size_t Escape(const uint8_t* data, size_t size, uint8_t kind, int* byte) {
  size_t run = 1;
  size_t before = 1;
  if (kind == kBackslash) {
    // Texts of JSON lie in each other.
    while (run < size && data[run] == '\\') run++;
    if (run == size) return 0;
    const uint8_t letter = data[run];
    if (IsLineEnd(letter)) return run + 1;
    if (letter != 'x' && memcmp(data + run, "u00", std::min<size_t>(size - run, 3)) != 0)
      return run;
    before = run + (letter == 'x' ? 1 : 3);
  }
  const size_t whole = before + 2;
  int meant = 0;
  for (size_t i = before; i < std::min(size, whole); i++) {
    const uint8_t digit = kDigits[data[i]];
    if (digit == kNoDigit) return run;
    meant = meant * 16 + digit;
  }
  if (size < whole) return 0;
  *byte = meant;
  // Encoded twice.
  if (meant == '%' && size >= whole + 2 && kDigits[data[whole]] != kNoDigit &&
      kDigits[data[whole + 1]] != kNoDigit) {
    *byte = kDigits[data[whole]] * 16 + kDigits[data[whole + 1]];
    return whole + 2;
  }
  return whole;
}

// As it reads, into memory of at least the same size. Returns the size. `places`, where given, is
// told where each of its bytes stood.
using Places = std::vector<std::pair<size_t, size_t>>;
template <bool told = false>
size_t Normalise(const uint8_t* data, size_t size, uint8_t* to, Places* places = nullptr) {
  size_t length = 0;
  for (size_t i = 0; i < size;) {
    const uint8_t byte = data[i];
    const uint8_t kind = kKinds[byte];
    if (kind <= kText) {
      to[length] = byte;
      if (told && kind == kText) (*places)[length] = {i, i + 1};
      length += kind;
      i++;
      continue;
    }
    int meant = -1;
    const size_t escape = Escape(data + i, size - i, kind, &meant);
    if (escape == 0) break;
    if (meant >= 0 && kKinds[static_cast<size_t>(meant)] == kText) {
      if (told) (*places)[length] = {i, i + escape};
      to[length++] = static_cast<uint8_t>(meant);
    }
    i += escape;
  }
  return length;
}

// In which order does not matter.
inline uint32_t KeyOf(const uint8_t* four) {
  uint32_t key = 0;
  memcpy(&key, four, sizeof key);
  return key;
}

void Clear(std::vector<uint8_t>* bytes) { explicit_bzero(bytes->data(), bytes->size()); }

// In small letters where `letters` is "0123456789abcdef".
std::vector<uint8_t> Hex(const View& secret, const char* letters) {
  std::vector<uint8_t> hex(secret.second * 2);
  for (size_t i = 0; i < secret.second; i++) {
    hex[2 * i] = static_cast<uint8_t>(letters[secret.first[i] >> 4]);
    hex[2 * i + 1] = static_cast<uint8_t>(letters[secret.first[i] & 15]);
  }
  return hex;
}

// What base64 makes of a secret that stands so many bytes behind a group's begin, without the
// characters that hold bits of what stands beside it.
std::vector<uint8_t> Base64(const View& secret, size_t shift, const char* letters) {
  std::vector<uint8_t> text;
  text.reserve(secret.second * 4 / 3 + 2);
  const size_t bits = secret.second * 8;
  // Of each group's 24 bits the secret begins with bit 8 * shift.
  for (size_t bit = (6 - shift * 8 % 6) % 6; bit + 6 <= bits; bit += 6) {
    uint32_t pair = static_cast<uint32_t>(secret.first[bit / 8]) << 8;
    if (bit / 8 + 1 < secret.second) pair |= secret.first[bit / 8 + 1];
    text.push_back(static_cast<uint8_t>(letters[(pair >> (10 - bit % 8)) & 63]));
  }
  return text;
}

}  // namespace

Status FormSearch::Prepare(const std::vector<View>& secrets, const std::vector<View>& marks) {
  size_t bytes = 0;
  for (const View& secret : secrets) bytes += secret.second * 15 + 64;
  for (const View& mark : marks) bytes += mark.second;
  constexpr size_t kForms = 11;
  const size_t most = secrets.size() * kForms + marks.size();
  marks_ = marks.size();
  const size_t align = alignof(Needle) - 1;
  const size_t map = (size_t{1} << kMapBits) / 8;
  memory_ = std::make_unique<LockedMemory>();
  Status made = memory_->Allocate(map + most * sizeof(Needle) + bytes + align);
  if (!made.Ok()) return made;
  map_ = reinterpret_cast<uint64_t*>(memory_->Data());
  needles_ = reinterpret_cast<Needle*>(memory_->Data() + map);
  used_ = map + most * sizeof(Needle);
  const char* const standard = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char* const for_urls = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  for (uint32_t i = 0; i < secrets.size(); i++) {
    const View& secret = secrets[i];
    if (secret.second < kShortest) continue;
    std::vector<uint8_t> form(secret.first, secret.first + secret.second);
    Add(i, kPlain, form);
    // Behind a backslash its first character would be taken for a line end's.
    if (IsLineEnd(form[0])) {
      std::vector<uint8_t> rest(form.begin() + 1, form.end());
      Add(i, kRest, rest);
      Clear(&rest);
    }
    std::reverse(form.begin(), form.end());
    Add(i, kReversed, form);
    Clear(&form);
    for (const char* letters : {"0123456789abcdef", "0123456789ABCDEF"}) {
      form = Hex(secret, letters);
      Add(i, kHex, form);
      Clear(&form);
    }
    for (size_t shift = 0; shift < 3; shift++) {
      for (const char* letters : {standard, for_urls}) {
        form = Base64(secret, shift, letters);
        Add(i, kBase64, form);
        Clear(&form);
      }
    }
  }
  for (uint32_t i = 0; i < marks.size(); i++)
    Add(i, kMark, {marks[i].first, marks[i].first + marks[i].second});
  std::sort(needles_, needles_ + count_,
            [](const Needle& one, const Needle& other) { return one.key < other.key; });
  waited_for_.clear();
  for (uint32_t i = 0; i < count_; i++)
    if (needles_[i].form != kMark && needles_[i].size > kLeastBegun) waited_for_.push_back(i);
  return Status::Fine();
}

void FormSearch::Add(uint32_t secret, Form form, const std::vector<uint8_t>& raw) {
  uint8_t* const to = memory_->Data() + used_;
  const size_t size = Normalise(raw.data(), raw.size(), to);
  if (size < (form == kMark ? kShortestMark : kShortest)) return;
  // The two alphabets of base64, and hexadecimal digits, may come to the same.
  for (size_t i = 0; i < count_ && form != kMark; i++) {
    const Needle& other = needles_[i];
    if (other.form == form && other.secret == secret && other.size == size &&
        memcmp(memory_->Data() + other.at, to, size) == 0)
      return;
  }
  const uint32_t key = KeyOf(to + size - 4);
  needles_[count_++] = {key, secret, static_cast<uint32_t>(used_), static_cast<uint32_t>(size),
                        form};
  used_ += size;
  const uint32_t bit = BitOf(key);
  map_[bit / 64] |= uint64_t{1} << (bit % 64);
}

void FormSearch::Wipe() {
  memory_.reset();
  waited_for_.clear();
  count_ = 0;
}

size_t FormSearch::Begun(const uint8_t* text, size_t size) const {
  size_t most = 0;
  for (uint32_t i : waited_for_) {
    const Needle& needle = needles_[i];
    const uint8_t* const bytes = memory_->Data() + needle.at;
    for (size_t length = std::min<size_t>(size, needle.size - 1);
         length > most && length >= kLeastBegun; length--) {
      const uint8_t* const tail = text + size - length;
      if (tail[0] != bytes[0] || memcmp(tail, bytes, length) != 0) continue;
      most = length;
      break;
    }
  }
  return size - most;
}

size_t FormSearch::Find(const uint8_t* data, size_t size, bool more,
                        std::vector<Found>* found) const {
  if (count_ == 0) return size;
  // As it reads. Kept for the next call: what is looked at is the sandbox's own.
  thread_local std::vector<uint8_t> text;
  if (text.size() < size) text.resize(std::max<size_t>(size, 4096));
  uint8_t* const own = text.data();
  const size_t length = Normalise(data, size, own);
  const uint8_t* const memory = memory_->Data();
  const uint64_t* const map = map_;
  struct Hit {
    const Needle* needle;
    size_t end;
  };
  std::vector<Hit> hits;
  std::vector<bool> marked;
  for (size_t end = kShortestMark; end <= length; end++) {
    const uint32_t key = KeyOf(own + end - 4);
    const uint32_t bit = BitOf(key);
    if ((map[bit / 64] >> (bit % 64) & 1) == 0) continue;
    const Needle* needle =
        std::lower_bound(needles_, needles_ + count_, key,
                         [](const Needle& one, uint32_t other) { return one.key < other; });
    for (; needle < needles_ + count_ && needle->key == key; needle++) {
      if (needle->size > end ||
          (needle->form == kMark && needle->secret < marked.size() && marked[needle->secret]) ||
          memcmp(own + end - needle->size, memory + needle->at, needle->size) != 0)
        continue;
      hits.push_back({needle, end});
      if (needle->form != kMark) continue;
      if (marked.empty()) marked.resize(marks_);
      marked[needle->secret] = true;
    }
  }
  const size_t begun = more ? Begun(own, length) : length;
  if (hits.empty() && begun == length) return size;
  // Only now: as a rule nothing is found, and nobody asks where it was.
  Places places(length);
  Normalise<true>(data, size, own, &places);
  for (const Hit& hit : hits) {
    const size_t at = places[hit.end - hit.needle->size].first;
    const size_t until = places[hit.end - 1].second;
    if (hit.needle->form != kRest)
      found->push_back({hit.needle->secret, hit.needle->form, at, until});
    else if (at >= 2 && data[at - 2] == '\\' && IsLineEnd(data[at - 1]))
      found->push_back({hit.needle->secret, kPlain, at - 1, until});
  }
  return begun == length ? size : places[begun].first;
}

}  // namespace holdfast
