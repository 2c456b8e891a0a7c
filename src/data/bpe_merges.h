#pragma once
#include <cstdint>
#include <vector>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// (left, right) -> rank and result, by perfect hashing: one pilot byte pair and one entry are read, found or
/// not.
class MergeTable {
 public:
  struct Entry {
    TokenId left = -1, right = -1;
    uint32_t rank = 0;
    TokenId result = -1;
  };

  /// When a pair occurs twice the later rank counts, as in the reference.
  explicit MergeTable(const std::vector<Merge>& merges);

  /// nullptr when the two do not merge.
  const Entry* find(TokenId left, TokenId right) const {
    const uint64_t hash = hash_of(left, right);
    const Entry& entry = entries_[slot(hash, pilots_[bucket(hash)])];
    return entry.left == left && entry.right == right ? &entry : nullptr;
  }

 private:
  static uint64_t hash_of(TokenId left, TokenId right) {
    const uint64_t key =
        static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    const uint64_t mixed = (key ^ key >> 32) * 0x9E3779B97F4A7C15u;
    return (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9u;
  }
  uint64_t bucket(uint64_t hash) const { return scale(hash, pilots_.size()); }
  uint64_t slot(uint64_t hash, uint16_t pilot) const {
    return scale((hash ^ (pilot * 0xD6E8FEB86659FD93u)) * 0x94D049BB133111EBu, entries_.size());
  }
  static uint64_t scale(uint64_t hash, uint64_t size) {  // [0, 2^64) -> [0, size)
    return static_cast<uint64_t>((static_cast<unsigned __int128>(hash) * size) >> 64);
  }
  bool place(const std::vector<Entry>& unique, size_t num_slots);

  std::vector<uint16_t> pilots_;
  std::vector<Entry> entries_;
};

}  // namespace phalanx::data
