#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace phalanx::data {

/// What a code point is to the reference library (tokenizers 0.23: Oniguruma with Unicode 16, Rust with
/// Unicode 16 and 17). Letter, number and space exclude each other.
enum CharClass : uint8_t {
  kLetter = 1,  ///< \p{L}
  kNumber = 2,  ///< \p{N}
  kSpace = 4,   ///< \s: White_Space
  kDigit = 8,   ///< char::is_numeric, the Digits pre-tokenizer
  kWord = 16,   ///< \w of the regex crate, for added tokens with single_word
  kUnorderedMark =
      32,  ///< a combining mark that is newer than the library's NFC, which leaves it where it stands
  kUpperLike = 64,   ///< [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], which begins a word of o200k
  kLowerLike = 128,  ///< [\p{Ll}\p{Lm}\p{Lo}\p{M}], which ends it; letters without case and marks are both
};

struct ClassRange {
  uint32_t begin, end;  // half open
  uint8_t classes;
};
extern const ClassRange kClassRanges[];
extern const size_t kNumClassRanges;

/// Members of a general category that are newer than PCRE2's tables, in PCRE2's class syntax.
struct CategorySupplement {
  std::string_view category, ranges;
};
extern const CategorySupplement kSupplements[];
extern const size_t kNumSupplements;

/// One byte per code point: 1.1 MB, of which text touches a few pages.
class ClassTable {
 public:
  static const ClassTable& get();
  uint8_t operator[](uint32_t code_point) const { return classes_[code_point]; }

 private:
  ClassTable();
  std::array<uint8_t, 0x110000> classes_{};
};

/// The code point at `p`, which must be the start of a character of valid UTF-8; moves `p` behind it.
inline uint32_t next_code_point(const char*& p) {
  const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(p[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) {
    p += 1;
    return lead;
  }
  if (lead < 0xE0) {
    const uint32_t c = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    p += 2;
    return c;
  }
  if (lead < 0xF0) {
    const uint32_t c = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    p += 3;
    return c;
  }
  const uint32_t c = (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  p += 4;
  return c;
}

/// The start of the character that ends at `p`.
inline const char* previous_character(const char* p) {
  do --p;
  while ((*p & 0xC0) == 0x80);
  return p;
}

}  // namespace phalanx::data
