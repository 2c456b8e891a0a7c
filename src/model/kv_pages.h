#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace phalanx::model {

/// The next tokens of one sequence: rows [first_row, first_row + num_rows) of a forward, behind `length`
/// tokens that are cached. `pages` has room for all of them.
struct CachedRows {
  const int64_t* pages;
  int64_t length, first_row, num_rows;
  int64_t end() const { return length + num_rows; }
};

/// Keys and values of one layer, page by page: [K, page_tokens, d] each, so that a head's tokens lie one
/// behind the other. Pages come in slabs; what a page holds never moves.
class KvPages {
 public:
  static constexpr int64_t kSlabPages = 16;

  explicit KvPages(int64_t page_tokens) : page_tokens_(page_tokens) {}

  /// Pages [0, num_pages) for rows like k [N, K, d] (or a slab).
  void reserve(int64_t num_pages, const at::Tensor& k);
  /// Stores rows of k and v [N, K, d], contiguous, as the tokens from rows.length on.
  void write(const CachedRows& rows, const at::Tensor& k, const at::Tensor& v);
  void copy_page(int64_t from, int64_t to);  ///< `to` may be a page that nobody has reserved yet
  /// The first `length` tokens of a sequence, [length, K, d].
  at::Tensor gather_keys(const int64_t* pages, int64_t length) const { return gather(keys_, pages, length); }
  at::Tensor gather_values(const int64_t* pages, int64_t length) const {
    return gather(values_, pages, length);
  }
  /// The first `length` tokens of one head, [length, d] each. In host memory.
  void read_head(const int64_t* pages, int64_t length, int64_t head, void* keys, void* values) const;
  int64_t memory_bytes() const;

  int64_t page_tokens() const { return page_tokens_; }
  int64_t num_heads() const { return keys_.front().size(1); }
  int64_t head_dim() const { return keys_.front().size(3); }
  const std::vector<at::Tensor>& key_slabs() const { return keys_; }  ///< [kSlabPages, K, page_tokens, d]
  const std::vector<at::Tensor>& value_slabs() const { return values_; }

 private:
  at::Tensor gather(const std::vector<at::Tensor>& slabs, const int64_t* pages, int64_t length) const;
  void write(const std::vector<at::Tensor>& slabs, const CachedRows& rows, const at::Tensor& source) const;

  int64_t page_tokens_;
  std::vector<at::Tensor> keys_, values_;
};

}  // namespace phalanx::model
