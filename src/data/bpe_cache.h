#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer.h"

namespace phalanx::data {

/// Words that were encoded lately, one cache per thread, shared by all tokenizers of the thread (an entry
/// knows its owner). An entry is one cache line: words up to 15 bytes of up to 9 tokens, which is nearly all
/// of a text.
class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 15;
  static constexpr size_t kMaxTokens = 9;

  struct Key {
    uint64_t low, high;  // the bytes, zero-padded; the length in the last byte
    bool operator==(const Key&) const = default;
  };
  struct alignas(64) Entry {
    Key key{};
    uint64_t owner = 0;  // 0: free
    uint32_t num_tokens = 0;
    TokenId tokens[kMaxTokens];
  };

  static WordCache& of_this_thread() {
    thread_local WordCache cache;
    return cache;
  }

  /// Key of a word of at most kMaxWordBytes bytes; `readable` bytes may be read from its start.
  static Key key_of(std::string_view word, size_t readable) {
    Key key{0, 0};
    if (readable >= 16) {
      std::memcpy(&key, word.data(), 16);
      const size_t bits = word.size() * 8;
      if (bits < 64) {
        key.low &= (uint64_t{1} << bits) - 1;
        key.high = 0;
      } else {
        key.high &= (uint64_t{1} << (bits - 64)) - 1;
      }
    } else {
      std::memcpy(&key, word.data(), word.size());
    }
    key.high |= static_cast<uint64_t>(word.size()) << 56;
    return key;
  }

  /// The entry of `key`, or the one to be overwritten by it (then its key or owner differs).
  Entry& find(const Key& key, uint64_t owner) {
    const uint64_t a = (key.low ^ owner) * 0x9E3779B97F4A7C15u;
    const uint64_t b = (key.high ^ a >> 32) * 0xC2B2AE3D27D4EB4Fu;
    const size_t slot = (a ^ b) >> (64 - kLogEntries);
    Entry& first = entries_[slot];
    if (holds(first, key, owner)) return first;
    Entry& second = entries_[slot ^ 1];
    if (holds(second, key, owner)) return second;
    // The newer one stays in front: least recently *written* goes.
    second = first;
    return first;
  }

  /// Appends what `encode` would append for text[piece], from the cache where it stands there.
  template <typename Encode>
  void encode(std::string_view text, Piece piece, uint64_t owner, std::vector<TokenId>& ids,
              Encode&& encode) {
    const std::string_view word = text.substr(piece.begin, piece.end - piece.begin);
    if (word.size() > kMaxWordBytes) {
      encode(word);
      return;
    }
    const Key key = key_of(word, text.size() - piece.begin);
    Entry& entry = find(key, owner);
    if (holds(entry, key, owner)) {
      ids.insert(ids.end(), entry.tokens, entry.tokens + entry.num_tokens);
      return;
    }
    const size_t first = ids.size();
    encode(word);
    const size_t num_tokens = ids.size() - first;
    if (num_tokens > kMaxTokens) return;
    entry.key = key;
    entry.owner = owner;
    entry.num_tokens = static_cast<uint32_t>(num_tokens);
    std::copy(ids.begin() + static_cast<ptrdiff_t>(first), ids.end(), entry.tokens);
  }

  /// A number that no other model has.
  static uint64_t next_owner() {
    static std::atomic<uint64_t> last{0};
    return ++last;
  }

  static bool holds(const Entry& entry, const Key& key, uint64_t owner) {
    return entry.key == key && entry.owner == owner;
  }

 private:
  static constexpr int kLogEntries = 14;  // 1 MiB
  WordCache() : entries_(size_t{1} << kLogEntries) {}
  std::vector<Entry> entries_;
};

}  // namespace phalanx::data
