#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/attention_block.h"

namespace phalanx::parallel {

enum class ContextKind { kRing, kUlysses };

/// How the ranks of a context group share the flat token axis of one micro-batch (data/batch.h). Pure data,
/// the same on every rank. Nothing is padded: parts differ by one row at most, and are empty where there are
/// fewer tokens than parts.
struct ContextLayout {
  std::vector<int32_t> cu_seqlens;                 ///< [S + 1], of the whole axis
  std::vector<std::vector<ops::RowRange>> ranges;  ///< per rank, ascending: the order of its rows

  int num_ranks() const { return static_cast<int>(ranges.size()); }
  int64_t num_tokens() const { return cu_seqlens.back(); }
  int64_t num_rows(int rank) const;

  /// The rows of `rank` of a tensor [N, ...] over the whole axis (input_ids, labels, position_ids).
  at::Tensor select(const at::Tensor& whole, int rank) const;
  /// int64 [N]: at::cat(parts of all ranks in rank order).index_select(0, gather_order()) is the whole axis.
  at::Tensor gather_order() const;
  /// What the queries of `query_rank` see of the keys of `key_rank`.
  std::vector<ops::AttentionPiece> pieces(int query_rank, int key_rank) const;
};

/// kRing: 2c chunks of equal length, rank r holds chunks r and 2c - 1 - r, so that in a long sample every
/// rank has as many scores to compute as any other, in every step of the ring (the zigzag of Zhu 2024 and of
/// Llama 3, arXiv:2407.21783, section 3.3.2). kUlysses: c contiguous parts.
/// @throws c10::Error if `cu_seqlens` does not ascend from 0, or there is no rank.
ContextLayout make_context_layout(ContextKind kind, const std::vector<int32_t>& cu_seqlens, int num_ranks);

}  // namespace phalanx::parallel
