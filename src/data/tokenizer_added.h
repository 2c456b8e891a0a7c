#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/byte_trie.h"
#include "data/normalizer.h"
#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// Finds added tokens in a text: leftmost, then longest, as the reference does.
class AddedTokenMatcher {
 public:
  /// `tokens` must outlive the matcher. Looks for those whose `normalized` is as given; these through
  /// `normalizers`, if they are not verbatim.
  /// @throws TokenizerError kAddedTokens when two of them become the same text.
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized, const Normalizers& normalizers,
                    const std::string& source);

  struct Part {
    uint32_t begin, end;
    const AddedToken* token;  ///< nullptr: text between two tokens
  };

  bool empty() const { return trie_.empty(); }
  /// The parts of `text` in order. SpecialText::kLiteral leaves special tokens in the text; as in the
  /// reference they still hide a shorter token that begins inside them.
  std::vector<Part> split(std::string_view text, SpecialText special) const;

 private:
  struct Match {
    size_t begin, end;
    const AddedToken* token;
  };

  bool find(std::string_view text, size_t from, Match& match) const;

  const std::vector<AddedToken>& tokens_;
  ByteTrie trie_;
};

}  // namespace phalanx::data
