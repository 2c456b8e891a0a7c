#include "model/kv_cache.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "model/cached_attention.h"
#include "ops/attention.h"

namespace phalanx::model {
namespace {

at::Tensor enlarged(const at::Tensor& old, int64_t capacity) {
  at::Tensor tensor = at::empty({old.size(0), old.size(1), capacity, old.size(3)}, old.options());
  tensor.narrow(2, 0, old.size(2)).copy_(old);
  return tensor;
}

// The boundaries of the entries that have new tokens.
std::vector<int32_t> without_empty(const std::vector<int32_t>& cu_seqlens) {
  std::vector<int32_t> kept = cu_seqlens;
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

}  // namespace

KvCache::KvCache(int64_t num_entries, int64_t capacity_tokens)
    : lengths_(num_entries, 0), capacity_(std::max<int64_t>(capacity_tokens, 16)) {}

void KvCache::truncate(int64_t entry, int64_t length) {
  TORCH_CHECK(length >= 0 && length <= lengths_.at(entry), "KvCache: cannot truncate ", lengths_.at(entry),
              " tokens to ", length);
  lengths_[entry] = length;
}

void KvCache::reserve(int64_t capacity_tokens) {
  if (capacity_tokens > capacity_) grow(capacity_tokens);
}

void KvCache::grow(int64_t tokens) {
  capacity_ = tokens;
  for (Layer& layer : layers_) {
    if (!layer.keys.defined()) continue;
    layer.keys = enlarged(layer.keys, capacity_);
    layer.values = enlarged(layer.values, capacity_);
  }
}

int64_t KvCache::memory_bytes() const {
  int64_t bytes = 0;
  for (const Layer& layer : layers_) {
    if (layer.keys.defined()) bytes += static_cast<int64_t>(layer.keys.nbytes() + layer.values.nbytes());
  }
  return bytes;
}

KvCache::Layer& KvCache::prepare(int64_t layer, const at::Tensor& k, const std::vector<int32_t>& cu_seqlens) {
  TORCH_CHECK(static_cast<int64_t>(cu_seqlens.size()) == num_entries() + 1, "KvCache: ", num_entries(),
              " entries but cu_seqlens has ", cu_seqlens.size(), " boundaries");
  int64_t needed = 0;
  for (int64_t e = 0; e < num_entries(); ++e) {
    needed = std::max(needed, lengths_[e] + cu_seqlens[e + 1] - cu_seqlens[e]);
  }
  if (needed > capacity_) grow(std::max(needed, 2 * capacity_));
  if (static_cast<int64_t>(layers_.size()) <= layer) layers_.resize(layer + 1);
  Layer& stored = layers_[layer];
  if (!stored.keys.defined()) {
    stored.keys = at::empty({num_entries(), k.size(1), capacity_, k.size(2)}, k.options());
    stored.values = at::empty_like(stored.keys);
  }
  return stored;
}

at::Tensor KvCache::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::vector<int32_t>& cu_seqlens, const ops::AttentionOptions& options) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "KvCache::attend has no gradient: call it under at::NoGradGuard");
  Layer& stored = prepare(layer, k, cu_seqlens);
  bool only_first_tokens = true;
  for (int64_t e = 0; e < num_entries(); ++e) {
    const int64_t count = cu_seqlens[e + 1] - cu_seqlens[e];
    if (count == 0) continue;
    only_first_tokens = only_first_tokens && lengths_[e] == 0;
    // [count, K, d] -> [K, count, d]
    stored.keys[e].narrow(1, lengths_[e], count).copy_(k.narrow(0, cu_seqlens[e], count).transpose(0, 1));
    stored.values[e].narrow(1, lengths_[e], count).copy_(v.narrow(0, cu_seqlens[e], count).transpose(0, 1));
  }
  if (only_first_tokens) return ops::varlen_attention(q, k, v, without_empty(cu_seqlens), options);
  return cached_attention(q, stored.keys, stored.values, lengths_, cu_seqlens, options);
}

void KvCache::advance(const std::vector<int32_t>& cu_seqlens) {
  for (int64_t e = 0; e < num_entries(); ++e) lengths_[e] += cu_seqlens[e + 1] - cu_seqlens[e];
}

}  // namespace phalanx::model
