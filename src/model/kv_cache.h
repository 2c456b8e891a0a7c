#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/attention_options.h"

namespace phalanx::model {

/// Keys and values of the sequences that are being generated, one entry each. Memory is taken when the first
/// layer writes, because only then heads and dtype are known (they follow from the weights). An entry that
/// takes no part in a forward has zero new tokens in its cu_seqlens; cleared entries are used again for the
/// next sequence.
class KvCache {
 public:
  explicit KvCache(int64_t num_entries, int64_t capacity_tokens = 256);

  int64_t num_entries() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t length(int64_t entry) const { return lengths_.at(entry); }
  void clear(int64_t entry) { lengths_.at(entry) = 0; }
  /// Forgets the tokens from `length` on.
  void truncate(int64_t entry, int64_t length);
  /// Room for at least this many tokens per entry, so that later growth does not copy.
  void reserve(int64_t capacity_tokens);
  int64_t memory_bytes() const;

  // For families: per layer and forward one attend(), then one advance().

  /// Stores the new keys and values of layer `layer` and lets the queries see them and everything before
  /// them. q [N, H, d], k and v [N, K, d]; rows cu_seqlens[e] .. cu_seqlens[e+1]-1 are the next tokens of
  /// entry e. Returns softmax(scale q k^T) v, with what the options do to scores, as
  /// [N, H, d]. No gradient.
  at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const std::vector<int32_t>& cu_seqlens, const ops::AttentionOptions& options);
  /// After the last layer: the new tokens now belong to their entries.
  void advance(const std::vector<int32_t>& cu_seqlens);

 private:
  struct Layer {
    at::Tensor keys, values;  // [entries, K, capacity, d]
  };
  void grow(int64_t tokens);
  Layer& prepare(int64_t layer, const at::Tensor& k, const std::vector<int32_t>& cu_seqlens);

  std::vector<int64_t> lengths_;
  int64_t capacity_;
  std::vector<Layer> layers_;
};

}  // namespace phalanx::model
