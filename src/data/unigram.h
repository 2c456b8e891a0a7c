#pragma once
#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/byte_trie.h"
#include "data/token_model.h"

namespace phalanx::data {

/// The unigram language model: of all ways to cut a piece into tokens, the one with the highest sum of scores
/// (Viterbi). A character that is no token has `unk_score`; neighbours of that kind become one unknown token,
/// or the bytes <0xNN>.
class Unigram : public TokenModel {
 public:
  /// `spec` holds a UnigramModel.
  explicit Unigram(const TokenizerSpec& spec);

  void encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
              std::vector<uint32_t>* lengths) const override;

 private:
  template <typename Score>
  void encode_word(std::string_view word, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const;
  void add(std::string_view text, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const;

  std::string source_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, TokenId> ids_;
  ByteTrie trie_;
  UnigramModel model_;
  std::array<TokenId, 256> byte_tokens_;
  uint64_t cache_owner_;
};

}  // namespace phalanx::data
