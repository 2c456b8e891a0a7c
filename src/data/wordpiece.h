#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/byte_trie.h"
#include "data/token_model.h"

namespace phalanx::data {

/// WordPiece (BERT): from the left, always the longest token; tokens inside a word are written with the
/// prefix "##". A word that cannot be covered so, or has too many characters, is one unknown token.
class WordPiece : public TokenModel {
 public:
  /// `spec` holds a WordPieceModel.
  explicit WordPiece(const TokenizerSpec& spec);

  void encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
              std::vector<uint32_t>* lengths) const override;

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const;

  ByteTrie first_, inside_;  // tokens that may begin a word; those behind the prefix, without it
  TokenId unk_;
  size_t max_characters_;
  uint64_t cache_owner_;
};

}  // namespace phalanx::data
