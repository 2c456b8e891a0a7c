#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/cached_attention.h"
#include "model/page_pool.h"
#include "ops/attention_options.h"

namespace phalanx::model {

/// Keys and values of the sequences that are being generated, one entry each, in pages of a fixed number of
/// tokens (Kwon et al. 2023, arXiv:2309.06180): an entry takes a page when its tokens reach it, and entries
/// that begin with the same tokens share the pages of these until one of them writes into such a page (copy
/// on write). Memory is taken as pages come into use, and only when the first layer writes, because only then
/// heads and dtype are known (they follow from the weights). An entry that takes no part in a forward has
/// zero new tokens in its cu_seqlens; cleared entries are used again for the next sequence.
class KvCache {
 public:
  static constexpr int64_t kPageTokens = 64;
  struct Options {
    int64_t page_tokens = kPageTokens;
    int64_t max_pages = PagePool::kUnlimited;
  };

  explicit KvCache(int64_t num_entries) : KvCache(num_entries, Options()) {}
  KvCache(int64_t num_entries, const Options& options);

  int64_t num_entries() const { return static_cast<int64_t>(entries_.size()); }
  int64_t length(int64_t entry) const { return at(entry).length; }
  const PagePool& pool() const { return pool_; }
  const std::vector<int64_t>& pages(int64_t entry) const { return at(entry).pages; }
  void clear(int64_t entry) { truncate(entry, 0); }
  /// Forgets the tokens from `length` on; pages without tokens are free again.
  void truncate(int64_t entry, int64_t length);
  /// Entry `to`, which must be empty, begins with all tokens of `from`: the same pages.
  void share(int64_t from, int64_t to);
  int64_t memory_bytes() const;

  // For families: per layer and forward one attend(), then one advance().

  /// Stores the new keys and values of layer `layer` and lets the queries see them and everything before
  /// them. q [N, H, d], k and v [N, K, d]; rows cu_seqlens[e] .. cu_seqlens[e+1]-1 are the next tokens of
  /// entry e. Returns softmax(scale q k^T) v, with what the options do to scores, as [N, H, d]. No gradient.
  /// Under ops::BatchInvariant a row has the bits that ops::varlen_attention gives it, under
  /// ops::TrainingForward where its kernel knows the options and rounds on its way.
  /// @throws std::length_error if there are not enough pages.
  at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const std::vector<int32_t>& cu_seqlens, const ops::AttentionOptions& options);
  /// After the last layer: the new tokens now belong to their entries.
  void advance(const std::vector<int32_t>& cu_seqlens);

 private:
  struct Entry {
    int64_t length = 0;
    std::vector<int64_t> pages;
  };
  Entry& at(int64_t entry) { return entries_.at(static_cast<size_t>(entry)); }
  const Entry& at(int64_t entry) const { return entries_.at(static_cast<size_t>(entry)); }
  void make_room(const std::vector<int32_t>& cu_seqlens);
  void own_last_page(Entry& entry);
  KvPages& pages_of_layer(int64_t layer, const at::Tensor& k);

  int64_t page_tokens_;
  PagePool pool_;
  std::vector<Entry> entries_;
  std::vector<KvPages> layers_;
};

}  // namespace phalanx::model
