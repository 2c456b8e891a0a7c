#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

namespace phalanx::data {

struct CodeRange {
  uint32_t begin, end;  // half open
};

/// Sets of code points, as the reference library (tokenizers 0.23) has them.
extern const std::span<const CodeRange> kAccents;       ///< removed by StripAccents
extern const std::span<const CodeRange> kBertAccents;   ///< removed by BertNormalizer, after NFD
extern const std::span<const CodeRange> kBertControls;  ///< removed by BertNormalizer's clean_text
extern const std::span<const CodeRange> kBertSpaces;    ///< become a space by clean_text
extern const std::span<const CodeRange> kBertChinese;   ///< get a space on either side
extern const std::span<const CodeRange> kPunctuation;   ///< of Punctuation and BertPreTokenizer
extern const std::span<const CodeRange> kUndecomposed;  ///< newer than the library's normal forms

/// Lower case where it is not what utf8proc says, or more than one character.
struct LowerCase {
  uint32_t code_point;
  std::string_view lower;
};
extern const std::span<const LowerCase> kLowerCases;

inline bool contains(std::span<const CodeRange> ranges, uint32_t c) {
  const auto behind =
      std::upper_bound(ranges.begin(), ranges.end(), c,
                       [](uint32_t value, const CodeRange& range) { return value < range.begin; });
  return behind != ranges.begin() && c < std::prev(behind)->end;
}

}  // namespace phalanx::data
