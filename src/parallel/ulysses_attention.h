#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "ops/attention_options.h"
#include "parallel/context_layout.h"

namespace phalanx::parallel {

/// Which heads one rank works on while it has all tokens. The query heads are an even share; the key heads
/// are those that they read, which several ranks may need where c does not divide K.
struct HeadShare {
  int64_t first_query = 0, num_queries = 0;
  int64_t first_key = 0, num_keys = 0;
  /// Key head for each of equal runs of the query heads, counted from first_key. 0 1 2 ... where the query
  /// heads begin and end with a key head, or all read one; otherwise with repeats.
  std::vector<int64_t> key_of_run;
};
/// @throws c10::Error if num_ranks does not divide num_query_heads.
HeadShare ulysses_heads(int64_t num_query_heads, int64_t num_key_heads, int num_ranks, int rank);

/// Empty, or why parallel.cp cannot be `num_ranks` with this number of query heads, and what it can be.
std::string ulysses_violation(int64_t num_query_heads, int num_ranks);

/// ops::varlen_attention over the whole token axis, of which each rank of `group` holds its rows by `layout`
/// (DeepSpeed-Ulysses: Jacobs et al. 2023, arXiv:2309.14509): an all_to_all exchanges a share of the tokens
/// of all heads for all tokens of a share of the heads, and another one takes the result back.
///
/// q [n, H, d], k and v [n, K, d]: this rank's rows, one dtype on all ranks; returns [n, H, d]. H must be a
/// multiple of c and of K; K is free: heads that several ranks need are sent to each of them, and their
/// gradients are summed at home in fp32 (fp64 for fp64), in rank order.
///
/// Sent by each rank, N/c rows per rank, in elements: forward (c-1)/c N/c (2 H + 2 K) d where c divides K,
/// backward the same.
///
/// `group` must outlive the backward. Forward and backward are collective: same order of calls on all ranks.
/// @throws c10::Error where the heads do not divide, or the layout does not fit the group or the tensors.
at::Tensor ulysses_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const ContextLayout& layout, const ops::AttentionOptions& options,
                             comm::Communicator& group);

}  // namespace phalanx::parallel
