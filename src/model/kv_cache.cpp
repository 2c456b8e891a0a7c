#include "model/kv_cache.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "ops/attention.h"
#include "ops/batch_invariant.h"
#include "ops/last_queries.h"
#include "ops/training_forward.h"

namespace phalanx::model {
namespace {

int64_t ceil_div(int64_t n, int64_t by) {
  return (n + by - 1) / by;
}

}  // namespace

KvCache::KvCache(int64_t num_entries, const Options& options)
    : page_tokens_(options.page_tokens),
      pool_(options.max_pages),
      entries_(static_cast<size_t>(num_entries)) {}

void KvCache::truncate(int64_t entry, int64_t length) {
  Entry& e = at(entry);
  TORCH_CHECK(length >= 0 && length <= e.length, "KvCache: cannot truncate ", e.length, " tokens to ",
              length);
  e.length = length;
  for (const auto needed = static_cast<size_t>(ceil_div(length, page_tokens_)); e.pages.size() > needed;) {
    pool_.release(e.pages.back());
    e.pages.pop_back();
  }
}

void KvCache::share(int64_t from, int64_t to) {
  TORCH_CHECK(at(to).length == 0, "KvCache: entry ", to, " has ", at(to).length,
              " tokens; only an empty one can share");
  at(to) = at(from);
  for (const int64_t page : at(to).pages) pool_.share(page);
}

int64_t KvCache::memory_bytes() const {
  int64_t bytes = 0;
  for (const KvPages& layer : layers_) bytes += layer.memory_bytes();
  return bytes;
}

// New tokens would join those of other entries in the last page.
void KvCache::own_last_page(Entry& entry) {
  if (entry.length % page_tokens_ == 0) return;
  int64_t& page = entry.pages.at(static_cast<size_t>(entry.length / page_tokens_));
  if (pool_.holders(page) == 1) return;
  const int64_t own = pool_.take();
  for (KvPages& layer : layers_) layer.copy_page(page, own);
  pool_.release(page);
  page = own;
}

// The first layer of a forward finds work to do, the others none.
void KvCache::make_room(const std::vector<int32_t>& cu_seqlens) {
  TORCH_CHECK(static_cast<int64_t>(cu_seqlens.size()) == num_entries() + 1, "KvCache: ", num_entries(),
              " entries but cu_seqlens has ", cu_seqlens.size(), " boundaries");
  for (size_t e = 0; e < entries_.size(); ++e) {
    Entry& entry = entries_[e];
    const int64_t count = cu_seqlens[e + 1] - cu_seqlens[e];
    if (count == 0) continue;
    own_last_page(entry);
    while (static_cast<int64_t>(entry.pages.size()) * page_tokens_ < entry.length + count)
      entry.pages.push_back(pool_.take());
  }
}

KvPages& KvCache::pages_of_layer(int64_t layer, const at::Tensor& k) {
  if (static_cast<int64_t>(layers_.size()) <= layer)
    layers_.resize(static_cast<size_t>(layer) + 1, KvPages(page_tokens_));
  KvPages& pages = layers_[static_cast<size_t>(layer)];
  pages.reserve(pool_.high_water(), k);
  return pages;
}

at::Tensor KvCache::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::vector<int32_t>& cu_seqlens, const ops::AttentionOptions& options) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "KvCache::attend has no gradient: call it under at::NoGradGuard");
  make_room(cu_seqlens);
  KvPages& pages = pages_of_layer(layer, k);
  const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
  std::vector<CachedRows> continued;
  std::vector<int32_t> first_tokens = {0};  // boundaries of the entries that begin
  int32_t first_row = 0;
  for (size_t e = 0; e < entries_.size(); ++e) {
    const int64_t begin = cu_seqlens[e], count = cu_seqlens[e + 1] - begin;
    if (count == 0) continue;
    const CachedRows rows{entries_[e].pages.data(), entries_[e].length, begin, count};
    pages.write(rows, keys, values);
    const bool follows_others = first_tokens.size() == 1 || first_row + first_tokens.back() == begin;
    if (entries_[e].length == 0 && follows_others) {
      if (first_tokens.size() == 1) first_row = static_cast<int32_t>(begin);
      first_tokens.push_back(first_tokens.back() + static_cast<int32_t>(count));
    } else {
      continued.push_back(rows);
    }
  }
  const int64_t num_first = first_tokens.back();
  const auto first_rows = [&](const at::Tensor& t) { return t.narrow(0, first_row, num_first); };
  if (num_first == q.size(0)) return ops::varlen_attention(queries, keys, values, first_tokens, options);
  at::Tensor out = at::empty(queries.sizes(), queries.options());
  if (num_first > 0) {
    first_rows(out).copy_(ops::varlen_attention(first_rows(queries), first_rows(keys), first_rows(values),
                                                first_tokens, options));
  }
  const bool wants_training = ops::TrainingForward::is_active() && !ops::attention_widens(queries) &&
                              attends_as_training(queries, continued, options);
  if (ops::BatchInvariant::is_active() || wants_training) {
    attend_as_training(queries, pages, continued, options, out);
  } else {
    cached_attention(queries, pages, continued, options, out);
  }
  return out;
}

void KvCache::advance(const std::vector<int32_t>& cu_seqlens) {
  for (size_t e = 0; e < entries_.size(); ++e) entries_[e].length += cu_seqlens[e + 1] - cu_seqlens[e];
}

}  // namespace phalanx::model
