#include "form_search.h"

#include <string.h>

#include <algorithm>
#include <array>

namespace holdfast {

namespace {

enum Kind : uint8_t { kSeparator, kText, kPercent, kBackslash, kAmpersand };

constexpr std::array<uint8_t, 256> MakeKinds() {
  std::array<uint8_t, 256> kinds{};
  for (auto& kind : kinds) kind = kText;
  for (const char each : {' ', '\t', '\n', '\v', '\f', '\r', '\0', '"', '\'', '`', ',', ';',
                          ':', '+',  '|',  '[',  ']',  '(',  ')',  '{', '}',  '<', '>'})
    kinds[static_cast<uint8_t>(each)] = kSeparator;
  kinds['%'] = kPercent;
  kinds['\\'] = kBackslash;
  kinds['&'] = kAmpersand;
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

// As Escape, for HTML's references to characters (html.spec.whatwg.org, 13.1.4). The named ones
// stand for what parts a text anyhow.
inline size_t Reference(const uint8_t* data, size_t size, int* byte) {
  constexpr size_t kLongest = 9;  // with leading zeros
  if (size < 2) return 0;
  if (data[1] != '#') {
    for (const char* name : {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"}) {
      const size_t length = strlen(name);
      if (memcmp(data, name, std::min(size, length)) == 0) return size < length ? 0 : length;
    }
    return 1;
  }
  if (size < 3) return 0;
  const bool is_hex = (data[2] | 0x20) == 'x';
  int meant = 0;
  const size_t first = is_hex ? 3 : 2;
  for (size_t i = first; i < kLongest; i++) {
    if (i >= size) return 0;
    const uint8_t digit = kDigits[data[i]];
    if (digit < (is_hex ? 16 : 10)) {
      meant = std::min(meant * (is_hex ? 16 : 10) + digit, 256);
      continue;
    }
    if (data[i] != ';' || i == first || meant > 255) break;
    *byte = meant;
    return i + 1;
  }
  return 1;
}

// The size of the escape that begins here, and the byte that it stands for; without one where it
// only parts what stands beside it; 0 where it is cut off.
inline size_t Escape(const uint8_t* data, size_t size, uint8_t kind, int* byte) {
  size_t run = 1;
  size_t before = 1;
  if (kind == kAmpersand) return Reference(data, size, byte);
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

// What base64 or base32 (RFC 4648) makes of a secret that stands so many bytes behind a group's
// begin, without the characters that hold bits of what stands beside it. Each stands for so many
// bits.
std::vector<uint8_t> Based(const View& secret, size_t shift, const char* letters, size_t bits) {
  std::vector<uint8_t> text;
  text.reserve(secret.second * 8 / bits + 2);
  const size_t end = secret.second * 8;
  const uint32_t mask = (1u << bits) - 1;
  // Of each group the secret begins with bit 8 * shift.
  for (size_t bit = (bits - shift * 8 % bits) % bits; bit + bits <= end; bit += bits) {
    uint32_t pair = static_cast<uint32_t>(secret.first[bit / 8]) << 8;
    if (bit / 8 + 1 < secret.second) pair |= secret.first[bit / 8 + 1];
    text.push_back(static_cast<uint8_t>(letters[(pair >> (16 - bits - bit % 8)) & mask]));
  }
  return text;
}

std::vector<uint8_t> Base64(const View& secret, size_t shift, const char* letters) {
  return Based(secret, shift, letters, 6);
}

// Each byte's number, in at least so many digits.
std::vector<uint8_t> Numbers(const View& secret, uint32_t base, size_t digits) {
  std::vector<uint8_t> text;
  text.reserve(secret.second * 3);
  const auto add = [&](uint32_t digit) { text.push_back(static_cast<uint8_t>('0' + digit)); };
  for (size_t i = 0; i < secret.second; i++) {
    const uint32_t byte = secret.first[i];
    if (digits > 2 || byte >= base * base) add(byte / (base * base));
    if (digits > 1 || byte >= base) add(byte / base % base);
    add(byte % base);
  }
  return text;
}

std::vector<uint8_t> Rot13(const View& secret) {
  std::vector<uint8_t> text(secret.first, secret.first + secret.second);
  for (auto& byte : text) {
    const uint8_t small = byte | 0x20;
    if (small >= 'a' && small <= 'z') byte = small < 'n' ? byte + 13 : byte - 13;
  }
  return text;
}

// With something before each byte of it, or between each two.
std::vector<uint8_t> Parted(const View& secret, const char* by, size_t width, bool before_first) {
  std::vector<uint8_t> text;
  text.reserve(secret.second * (width + 2));
  for (size_t i = 0; i < secret.second; i += width) {
    if (i > 0 || before_first) text.insert(text.end(), by, by + strlen(by));
    text.insert(text.end(), secret.first + i, secret.first + std::min(i + width, secret.second));
  }
  return text;
}

View ViewOf(const std::vector<uint8_t>& bytes) { return {bytes.data(), bytes.size()}; }

constexpr const char* kStandard =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr const char* kForUrls = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
// The forms of a secret, and their bytes for each byte of it: see AddForms.
constexpr size_t kForms = 44;
constexpr size_t kFormBytes = 80;
// Of a longer one only some are looked for: they are held in locked memory.
constexpr size_t kLongestPrinted = 512;
constexpr size_t kLongFormBytes = 28;

}  // namespace

Status FormSearch::Prepare(const std::vector<View>& secrets, const std::vector<View>& marks,
                           bool are_secret) {
  size_t bytes = 0;
  for (const View& secret : secrets)
    bytes += (secret.second + 4) * (secret.second > kLongestPrinted ? kLongFormBytes : kFormBytes);
  const size_t most = secrets.size() * kForms;
  constexpr size_t kMap = (size_t{1} << kMapBits) / 8;
  constexpr size_t kSmall = (size_t{1} << kSmallBits) / 8;
  memory_ = std::make_unique<LockedMemory>();
  Status made = memory_->Allocate(kMap + 2 * kSmall + most * sizeof(Needle) + bytes, are_secret);
  if (!made.Ok()) return made;
  map_ = reinterpret_cast<uint64_t*>(memory_->Data());
  begins_ = reinterpret_cast<uint64_t*>(memory_->Data() + kMap);
  keys_ = reinterpret_cast<uint64_t*>(memory_->Data() + kMap + kSmall);
  needles_ = reinterpret_cast<Needle*>(memory_->Data() + kMap + 2 * kSmall);
  used_ = kMap + 2 * kSmall + most * sizeof(Needle);
  for (uint32_t i = 0; i < secrets.size(); i++)
    if (secrets[i].second >= kShortest) AddForms(i, secrets[i]);
  for (uint32_t i = 0; i < marks.size(); i++) AddMark(i, marks[i]);
  const auto by_key = [](const Needle& one, const Needle& other) { return one.key < other.key; };
  std::sort(needles_, needles_ + count_, by_key);
  std::sort(marks_.begin(), marks_.end(), by_key);
  waited_for_.clear();
  longest_ = 0;
  for (uint32_t i = 0; i < count_; i++) {
    const Needle& needle = needles_[i];
    if (needle.size <= kLeastBegun) continue;
    waited_for_.push_back(i);
    longest_ = std::max<size_t>(longest_, needle.size);
    Mark<kSmallBits>(begins_, KeyOf(memory_->Data() + needle.at));
  }
  return Status::Fine();
}

void FormSearch::AddForms(uint32_t index, const View& secret) {
  const auto add = [&](Form form, std::vector<uint8_t> text) {
    Add(index, form, text);
    Clear(&text);
  };
  const auto add_both_ways = [&](Form form, std::vector<uint8_t> text) {
    Add(index, form, text);
    std::reverse(text.begin(), text.end());
    Add(index, kReversed, text);
    Clear(&text);
  };
  add_both_ways(kPlain, {secret.first, secret.first + secret.second});
  // Behind a backslash its first character would be taken for a line end's.
  if (IsLineEnd(secret.first[0])) add(kRest, {secret.first + 1, secret.first + secret.second});
  const size_t last = secret.second - 1;
  if (IsLineEnd(secret.first[last])) {
    std::vector<uint8_t> rest(secret.first, secret.first + last);
    std::reverse(rest.begin(), rest.end());
    add(kReversedRest, std::move(rest));
  }
  for (const char* letters : {"0123456789abcdef", "0123456789ABCDEF"})
    add_both_ways(kHex, Hex(secret, letters));
  for (size_t shift = 0; shift < 3; shift++)
    for (const char* letters : {kStandard, kForUrls})
      add_both_ways(kBase64, Base64(secret, shift, letters));
  if (secret.second > kLongestPrinted) return;
  for (const char* letters : {"0123456789abcdef", "0123456789ABCDEF"}) {
    std::vector<uint8_t> hex = Hex(secret, letters);
    add(kHex, Parted(ViewOf(hex), "0x", 2, true));
    Clear(&hex);
  }
  for (size_t shift = 0; shift < 3; shift++) {
    std::vector<uint8_t> once = Base64(secret, shift, kStandard);
    for (size_t outer = 0; outer < 3; outer++) add(kBase64, Base64(ViewOf(once), outer, kStandard));
    Clear(&once);
  }
  for (size_t shift = 0; shift < 5; shift++)
    add(kBase32, Based(secret, shift, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 5));
  add(kDecimal, Numbers(secret, 10, 1));
  add(kOctal, Numbers(secret, 8, 3));
  add(kRot13, Rot13(secret));
  for (const char* by : {"-", "_", ".", "/", "*"}) add(kParted, Parted(secret, by, 1, false));
}

void FormSearch::Add(uint32_t secret, Form form, const std::vector<uint8_t>& raw) {
  uint8_t* const to = memory_->Data() + used_;
  const size_t size = Normalise(raw.data(), raw.size(), to);
  if (size < kShortest) {
    if (form != kPlain) return;
    // Little of it is no separator.
    memcpy(to, raw.data(), raw.size());
    verbatim_.push_back({secret, used_, raw.size()});
    used_ += raw.size();
    return;
  }
  // The two alphabets of base64, and hexadecimal digits, may come to the same.
  for (size_t i = count_; i > 0 && needles_[i - 1].secret == secret; i--) {
    const Needle& other = needles_[i - 1];
    if (other.form == form && other.size == size &&
        memcmp(memory_->Data() + other.at, to, size) == 0)
      return;
  }
  const uint32_t key = KeyOf(to + size - 4);
  needles_[count_++] = {key, secret, static_cast<uint32_t>(used_), static_cast<uint32_t>(size),
                        form};
  used_ += size;
  Mark(map_, key);
  Mark<kSmallBits>(keys_, key);
}

void FormSearch::AddMark(uint32_t index, const View& mark) {
  const size_t at = mark_bytes_.size();
  mark_bytes_.resize(at + mark.second);
  const size_t size = Normalise(mark.first, mark.second, mark_bytes_.data() + at);
  mark_bytes_.resize(at + size);
  if (size < kShortestMark) return;
  const uint32_t key = KeyOf(mark_bytes_.data() + at + size - 4);
  marks_.push_back({key, index, static_cast<uint32_t>(at), static_cast<uint32_t>(size), kMark});
  Mark(map_, key);
}

void FormSearch::Wipe() {
  memory_.reset();
  waited_for_.clear();
  verbatim_.clear();
  marks_.clear();
  count_ = 0;
}

size_t FormSearch::Begun(const uint8_t* text, size_t size) const {
  for (size_t at = size - std::min(size, longest_); at + kLeastBegun <= size; at++) {
    if (!Has<kSmallBits>(begins_, KeyOf(text + at))) continue;
    const size_t left = size - at;
    for (uint32_t i : waited_for_) {
      const Needle& needle = needles_[i];
      if (needle.size > left && memcmp(text + at, memory_->Data() + needle.at, left) == 0)
        return at;
    }
  }
  return size;
}

size_t FormSearch::Find(const uint8_t* data, size_t size, bool more,
                        std::vector<Found>* found) const {
  if (memory_ == nullptr) return size;
  for (const Verbatim& each : verbatim_) {
    const uint8_t* const bytes = memory_->Data() + each.at;
    for (size_t at = 0; at + each.size <= size;) {
      const void* const hit = memmem(data + at, size - at, bytes, each.size);
      if (hit == nullptr) break;
      at = static_cast<size_t>(static_cast<const uint8_t*>(hit) - data);
      found->push_back({each.secret, kPlain, at, at + each.size});
      at += each.size;
    }
  }
  if (count_ == 0 && marks_.empty()) return size;
  // As it reads. Kept for the next call: what is looked at is the sandbox's own.
  thread_local std::vector<uint8_t> text;
  if (text.size() < size) text.resize(std::max<size_t>(size, 4096));
  uint8_t* const own = text.data();
  const size_t length = Normalise(data, size, own);
  const uint64_t* const map = map_;
  struct Hit {
    const Needle* needle;
    size_t end;
  };
  std::vector<Hit> hits;
  const auto look = [&](const Needle* first, size_t count, const uint8_t* bytes, size_t end,
                        uint32_t key, const auto& found_one) {
    const Needle* const last = first + count;
    const Needle* needle = std::lower_bound(
        first, last, key, [](const Needle& one, uint32_t other) { return one.key < other; });
    for (; needle < last && needle->key == key; needle++)
      if (needle->size <= end &&
          memcmp(own + end - needle->size, bytes + needle->at, needle->size) == 0)
        found_one(*needle);
  };
  std::vector<bool> marked;
  for (size_t end = kShortestMark; end <= length; end++) {
    const uint32_t key = KeyOf(own + end - 4);
    if (!Has(map, key)) continue;
    if (Has<kSmallBits>(keys_, key))
      look(needles_, count_, memory_->Data(), end, key, [&](const Needle& needle) {
        hits.push_back({&needle, end});
      });
    look(marks_.data(), marks_.size(), mark_bytes_.data(), end, key, [&](const Needle& mark) {
      if (marked.empty()) marked.resize(marks_.size());
      if (marked[&mark - marks_.data()]) return;
      marked[&mark - marks_.data()] = true;
      hits.push_back({&mark, end});
    });
  }
  const size_t begun = more ? Begun(own, length) : length;
  if (hits.empty() && begun == length) return size;
  // Only now: as a rule nothing is found, and nobody asks where it was.
  Places places(length);
  Normalise<true>(data, size, own, &places);
  for (const Hit& hit : hits) {
    const size_t at = places[hit.end - hit.needle->size].first;
    const size_t until = places[hit.end - 1].second;
    const Form form = hit.needle->form;
    if (form != kRest && form != kReversedRest)
      found->push_back({hit.needle->secret, form, at, until});
    else if (at >= 2 && data[at - 2] == '\\' && IsLineEnd(data[at - 1]))
      found->push_back({hit.needle->secret, form == kRest ? kPlain : kReversed, at - 1, until});
  }
  return begun == length ? size : places[begun].first;
}

}  // namespace holdfast
