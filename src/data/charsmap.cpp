#include "data/charsmap.h"

#include <cstring>

#include "data/tokenizer_error.h"

namespace phalanx::data {

Charsmap::Charsmap(std::string bytes, const std::string& source) {
  if (bytes.empty()) return;
  uint32_t num_trie_bytes = 0;
  if (bytes.size() >= 4) std::memcpy(&num_trie_bytes, bytes.data(), 4);
  if (num_trie_bytes < 4 || num_trie_bytes % 4 != 0 || num_trie_bytes > bytes.size() - 4) {
    fail_tokenizer(TokenizerErrorKind::kSchema,
                   "{}: precompiled_charsmap has {} bytes and a trie of {}; the file is damaged", source,
                   bytes.size(), num_trie_bytes);
  }
  units_.resize(num_trie_bytes / 4);
  std::memcpy(units_.data(), bytes.data() + 4, num_trie_bytes);
  replacements_ = bytes.substr(size_t{4} + num_trie_bytes);
  replacements_ += '\0';
}

// A unit is: bit 31 and bits 0-7 its label, bit 8 "a value hangs here", bits 9-30 the offset to its children.
std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool longest) const {
  std::optional<Match> match;
  if (units_.empty()) return match;
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
  uint32_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size()) return match;
    const uint32_t unit = units_[node];
    if ((unit & 0x800000FFu) != byte) return match;
    node ^= offset(unit);
    if (node >= units_.size()) return match;
    if ((unit & 0x100) == 0) continue;
    const uint32_t value = units_[node] & 0x7FFFFFFFu;
    if (value >= replacements_.size()) return match;
    match = {i + 1, std::string_view(replacements_.data() + value)};
    if (!longest) return match;
  }
  return match;
}

}  // namespace phalanx::data
