#include "parallel/context_layout.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace phalanx::parallel {
namespace {

/// Part `index` of `count`: the first `total % count` parts are one longer. In a zigzag the longer ones go to
/// the ranks in order and then back, so ranks differ by one row at most, too.
ops::RowRange part_of(int64_t total, int64_t count, int64_t index) {
  const int64_t shortest = total / count, longer = total % count;
  const auto begin_of = [&](int64_t i) { return i * shortest + std::min(i, longer); };
  return {begin_of(index), begin_of(index + 1)};
}

void add_range(std::vector<ops::RowRange>& ranges, const ops::RowRange& range) {
  if (range.size() == 0) return;
  if (!ranges.empty() && ranges.back().end == range.begin) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

int64_t ContextLayout::num_rows(int rank) const {
  int64_t rows = 0;
  for (const ops::RowRange& range : ranges.at(rank)) rows += range.size();
  return rows;
}

at::Tensor ContextLayout::select(const at::Tensor& whole, int rank) const {
  TORCH_CHECK(whole.size(0) == num_tokens(), "context layout: the tensor has ", whole.size(0),
              " rows, the token axis has ", num_tokens());
  std::vector<at::Tensor> parts;
  for (const ops::RowRange& range : ranges.at(rank))
    parts.push_back(whole.narrow(0, range.begin, range.size()));
  if (parts.empty()) return whole.narrow(0, 0, 0);
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

at::Tensor ContextLayout::gather_order() const {
  const at::Tensor rows = at::arange(num_tokens(), at::kLong);
  std::vector<at::Tensor> parts;
  for (int rank = 0; rank < num_ranks(); ++rank) parts.push_back(select(rows, rank));
  return at::argsort(at::cat(parts, 0));
}

std::vector<ops::AttentionPiece> ContextLayout::pieces(int query_rank, int key_rank) const {
  return ops::attention_pieces(ranges.at(query_rank), ranges.at(key_rank), cu_seqlens);
}

ContextLayout make_context_layout(ContextKind kind, const std::vector<int32_t>& cu_seqlens, int num_ranks) {
  TORCH_CHECK(num_ranks > 0, "context layout: ", num_ranks, " ranks, there must be at least one");
  TORCH_CHECK(
      !cu_seqlens.empty() && cu_seqlens.front() == 0 && std::is_sorted(cu_seqlens.begin(), cu_seqlens.end()),
      "context layout: cu_seqlens must ascend from 0");
  const int64_t tokens = cu_seqlens.back();
  ContextLayout layout{cu_seqlens, std::vector<std::vector<ops::RowRange>>(num_ranks)};
  for (int rank = 0; rank < num_ranks; ++rank) {
    std::vector<ops::RowRange>& ranges = layout.ranges[rank];
    if (kind == ContextKind::kUlysses) {
      add_range(ranges, part_of(tokens, num_ranks, rank));
    } else {
      add_range(ranges, part_of(tokens, 2 * num_ranks, rank));
      add_range(ranges, part_of(tokens, 2 * num_ranks, 2 * num_ranks - 1 - rank));
    }
  }
  return layout;
}

}  // namespace phalanx::parallel
