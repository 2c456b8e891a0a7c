#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// Finds added tokens in a text: leftmost, then longest, as the reference does.
class AddedTokenMatcher {
 public:
  /// `tokens` must outlive the matcher. Looks for those whose `normalized` is as given; with `nfc` for their
  /// normal form.
  /// @throws TokenizerError kAddedTokens when two of them become the same text.
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized, bool nfc,
                    const std::string& source);

  struct Part {
    uint32_t begin, end;
    const AddedToken* token;  ///< nullptr: text between two tokens
  };

  bool empty() const { return nodes_.size() == 1; }
  /// The parts of `text` in order. SpecialText::kLiteral leaves special tokens in the text; as in the
  /// reference they still hide a shorter token that begins inside them.
  std::vector<Part> split(std::string_view text, SpecialText special) const;

 private:
  struct Node {
    uint32_t first_child = 0;  // children are neighbours, ordered by byte
    uint16_t num_children = 0;
    uint8_t byte = 0;
    int32_t token = -1;  // index in tokens_
  };
  struct Match {
    size_t begin, end;
    const AddedToken* token;
  };

  void build(std::vector<std::pair<std::string, int32_t>>& patterns, const std::string& source);
  bool find(std::string_view text, size_t from, Match& match) const;
  int32_t child(const Node& node, uint8_t byte) const;

  const std::vector<AddedToken>& tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> can_begin_{};
};

}  // namespace phalanx::data
