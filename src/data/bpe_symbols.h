#pragma once
#include <cstdint>
#include <vector>

#include "data/bpe_merges.h"

namespace phalanx::data {

/// A part of a text as a row of tokens, whose neighbours merge: the lowest rank first, the leftmost of equal
/// ones, until none is left. O(n log n). Kept from part to part for its memory.
class BpeSymbols {
 public:
  void clear() { symbols_.clear(); }
  /// One more token at the end. @param length  bytes of the text that it stands for.
  void add(TokenId token, size_t length) {
    const auto place = static_cast<uint32_t>(symbols_.size());
    symbols_.push_back({token, static_cast<uint32_t>(length), place - 1, place + 1, kNoRank, -1});
  }
  void merge(const MergeTable& merges);

  /// Calls use(token, length) from left to right; at least one was added.
  template <typename Use>
  void for_each(Use&& use) const {
    for (uint32_t at = 0; at < symbols_.size(); at = symbols_[at].next)
      use(symbols_[at].token, symbols_[at].length);
  }

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Symbol {
    TokenId token;
    uint32_t length;
    uint32_t previous, next;  // places; before the first UINT32_MAX, behind the last the number of symbols
    uint32_t rank;            // of the merge with the next one
    TokenId result;           // and what it makes
  };
  bool look(const MergeTable& merges, uint32_t at);

  std::vector<Symbol> symbols_;
  std::vector<uint64_t> heap_;  // rank << 32 | place
};

}  // namespace phalanx::data
