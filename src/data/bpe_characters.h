#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "data/bpe_merges.h"
#include "data/bpe_symbols.h"
#include "data/token_model.h"

namespace phalanx::data {

/// Byte-pair encoding over characters, as SentencePiece and the older tokenizers have it: a piece starts as
/// one token per character (bytes <0xNN> or the unknown token where there is none), and the neighbours whose
/// merge has the lowest rank, the leftmost of equal ones, are merged until none is left. O(n log n) in the
/// length of a piece; pieces that are whole texts are cut where no merge reaches across.
class CharacterBpe : public TokenModel {
 public:
  /// `spec` holds a BpeModel and must outlive the model.
  explicit CharacterBpe(const TokenizerSpec& spec);
  CharacterBpe(const CharacterBpe&) = delete;
  CharacterBpe& operator=(const CharacterBpe&) = delete;

  void encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
              std::vector<uint32_t>* lengths) const override;

 private:
  void encode_piece(std::string_view text, Piece piece, std::vector<TokenId>& ids,
                    std::vector<uint32_t>* lengths) const;
  void encode_part(std::string_view part, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const;
  void start(std::string_view part, BpeSymbols& symbols) const;
  void finish(std::string_view part, const BpeSymbols& symbols, std::vector<TokenId>& ids,
              std::vector<uint32_t>* lengths) const;
  TokenId token_of(std::string_view character, bool is_first, bool is_last) const;
  bool has_all_byte_tokens(std::string_view bytes) const;
  bool may_cut(const char* left, const char* right) const;
  [[noreturn]] void refuse(std::string_view character, std::string_view part) const;

  std::string source_;
  std::unordered_map<std::string_view, TokenId> tokens_;  // hidden characters too
  TokenId first_hidden_;
  MergeTable merges_;
  std::array<TokenId, 256> byte_tokens_{};  // of byte fallback; -1: none
  std::unordered_set<uint64_t> touching_;   // pairs of characters that some merge joins
  std::bitset<128 * 128> ascii_touching_;
  bool is_cut_ = false;
  bool has_every_byte_ = false;  // no character is unknown
  bool ignore_merges_, byte_fallback_, fuse_unk_;
  std::optional<TokenId> unk_;
  std::string prefix_, suffix_;
  uint64_t cache_owner_;
};

}  // namespace phalanx::data
