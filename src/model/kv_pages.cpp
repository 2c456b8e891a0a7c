#include "model/kv_pages.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>

namespace phalanx::model {
namespace {

at::Tensor page_of(const std::vector<at::Tensor>& slabs, int64_t page) {
  return slabs[static_cast<size_t>(page / KvPages::kSlabPages)][page % KvPages::kSlabPages];
}

// Calls body(page, first slot, first token counted from `begin`, count) for every page of [begin, end).
template <class Body>
void for_each_page(const int64_t* pages, int64_t page_tokens, int64_t begin, int64_t end, const Body& body) {
  for (int64_t token = begin; token < end;) {
    const int64_t slot = token % page_tokens, count = std::min(page_tokens - slot, end - token);
    body(pages[token / page_tokens], slot, token - begin, count);
    token += count;
  }
}

}  // namespace

void KvPages::reserve(int64_t num_pages, const at::Tensor& k) {
  while (static_cast<int64_t>(keys_.size()) * kSlabPages < num_pages) {
    for (std::vector<at::Tensor>* slabs : {&keys_, &values_})
      slabs->push_back(at::empty({kSlabPages, k.size(1), page_tokens_, k.size(-1)}, k.options()));
  }
}

void KvPages::write(const CachedRows& rows, const at::Tensor& k, const at::Tensor& v) {
  write(keys_, rows, k);
  write(values_, rows, v);
}

// In host memory without ATen: a decoding step stores one row for each sequence and layer.
void KvPages::write(const std::vector<at::Tensor>& slabs, const CachedRows& rows,
                    const at::Tensor& source) const {
  const int64_t heads = source.size(1),
                row_bytes = source.size(2) * static_cast<int64_t>(source.element_size());
  const auto store = [&](int64_t page, int64_t slot, int64_t offset, int64_t count) {
    if (!source.is_cpu()) {  // [count, K, d] -> [K, count, d]
      page_of(slabs, page)
          .narrow(1, slot, count)
          .copy_(source.narrow(0, rows.first_row + offset, count).transpose(0, 1));
      return;
    }
    const at::Tensor& slab = slabs[static_cast<size_t>(page / kSlabPages)];
    char* target = static_cast<char*>(slab.data_ptr()) + page % kSlabPages * heads * page_tokens_ * row_bytes;
    const char* from =
        static_cast<const char*>(source.data_ptr()) + (rows.first_row + offset) * heads * row_bytes;
    for (int64_t token = 0; token < count; ++token) {
      for (int64_t head = 0; head < heads; ++head)
        std::memcpy(target + (head * page_tokens_ + slot + token) * row_bytes,
                    from + (token * heads + head) * row_bytes, static_cast<size_t>(row_bytes));
    }
  };
  for_each_page(rows.pages, page_tokens_, rows.length, rows.end(), store);
}

void KvPages::copy_page(int64_t from, int64_t to) {
  if (keys_.empty()) return;  // a layer of another pipeline stage
  const at::Tensor slab = keys_.front();
  reserve(to + 1, slab);
  for (const std::vector<at::Tensor>* slabs : {&keys_, &values_})
    page_of(*slabs, to).copy_(page_of(*slabs, from));
}

at::Tensor KvPages::gather(const std::vector<at::Tensor>& slabs, const int64_t* pages, int64_t length) const {
  at::Tensor tokens = at::empty({length, num_heads(), head_dim()}, slabs.front().options());
  for_each_page(
      pages, page_tokens_, 0, length, [&](int64_t page, int64_t slot, int64_t offset, int64_t count) {
        tokens.narrow(0, offset, count).copy_(page_of(slabs, page).narrow(1, slot, count).transpose(0, 1));
      });
  return tokens;
}

void KvPages::read_head(const int64_t* pages, int64_t length, int64_t head, void* keys, void* values) const {
  const int64_t row_bytes = head_dim() * static_cast<int64_t>(keys_.front().element_size());
  const auto read = [&](const std::vector<at::Tensor>& slabs, void* target) {
    for_each_page(pages, page_tokens_, 0, length, [&](int64_t page, int64_t, int64_t offset, int64_t count) {
      const auto* slab = static_cast<const char*>(slabs[static_cast<size_t>(page / kSlabPages)].data_ptr());
      const int64_t first = (page % kSlabPages * num_heads() + head) * page_tokens_;
      std::memcpy(static_cast<char*>(target) + offset * row_bytes, slab + first * row_bytes,
                  static_cast<size_t>(count * row_bytes));
    });
  };
  read(keys_, keys);
  read(values_, values);
}

int64_t KvPages::memory_bytes() const {
  int64_t bytes = 0;
  for (const std::vector<at::Tensor>* slabs : {&keys_, &values_}) {
    for (const at::Tensor& slab : *slabs) bytes += static_cast<int64_t>(slab.nbytes());
  }
  return bytes;
}

}  // namespace phalanx::model
