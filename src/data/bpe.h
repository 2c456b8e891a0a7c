#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe_merges.h"
#include "data/token_model.h"

namespace phalanx::data {

/// Byte-level byte-pair encoding: a piece starts as one token per byte, and the neighbours whose merge has
/// the lowest rank (leftmost first) are merged until none is left. O(n log n) in the length of a piece.
class Bpe : public TokenModel {
 public:
  /// `spec` holds a BpeModel without prefix, suffix and byte fallback.
  explicit Bpe(const TokenizerSpec& spec);
  Bpe(const Bpe&) = delete;  // views into its own strings
  Bpe& operator=(const Bpe&) = delete;

  void encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
              std::vector<uint32_t>* lengths) const override;

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const;
  void merge_piece(std::string_view piece, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const;
  void merge_part(std::string_view part, std::vector<TokenId>& ids) const;
  void merge_short(std::string_view part, std::vector<TokenId>& ids) const;
  void merge_long(std::string_view part, std::vector<TokenId>& ids) const;
  size_t unknown_run(std::string_view piece, size_t at, std::vector<TokenId>& ids,
                     std::vector<uint32_t>* lengths) const;
  void push_lengths(const std::vector<TokenId>& ids, size_t from, std::vector<uint32_t>* lengths) const;

  static size_t pair_index(uint8_t left, uint8_t right) { return static_cast<size_t>(left) << 8 | right; }

  std::string source_;
  std::string all_bytes_;  // of all tokens, one behind the other
  std::vector<std::string_view>
      token_bytes_;  // empty for a token outside the byte-level alphabet: no text leads to it
  MergeTable merges_;
  std::vector<TokenId> results_;            // rank -> merged token
  std::array<TokenId, 256> byte_tokens_{};  // -1: the byte has no token
  std::vector<uint32_t> byte_pair_ranks_;   // [65536] rank of the merge of two bytes, kNoRank if none
  std::bitset<65536> may_touch_;            // byte pairs that some merge joins; no token spans any other pair
  std::unordered_map<std::string_view, TokenId> whole_;  // with ignore_merges: bytes -> token
  std::optional<TokenId> unk_;
  bool fuse_unk_ = false;
  bool every_byte_has_token_ = true;
  uint64_t cache_owner_;
};

}  // namespace phalanx::data
