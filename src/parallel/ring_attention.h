#pragma once
#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "ops/attention_options.h"
#include "parallel/context_layout.h"

namespace phalanx::parallel {

/// ops::varlen_attention over the whole token axis, of which each rank of `group` holds its rows by `layout`
/// (ring attention: Liu et al. 2023, arXiv:2310.01889). Blocks of keys and values travel around the ring,
/// each step's on its way while the present one is computed; results are merged by their log-sum-exp in fp32
/// (fp64 for fp64).
///
/// q [n, H, d], k and v [n, K, d]: this rank's rows, one dtype on all ranks, H a multiple of K; returns
/// [n, H, d]. Saved: q, k, v, the output and one fp32 log-sum-exp per row and head. Equal bits in every run.
///
/// Sent by each rank, with N/c rows per rank and c ranks: forward (c-1) 2 N/c K d elements; backward the same
/// again and as many fp32 (fp64) elements of gradients, which travel with the ring, behind their keys, and
/// end at home. A rank for which a block is wholly hidden only passes it on.
///
/// `group` must outlive the backward. Forward and backward are collective: same order of calls on all ranks.
/// @throws c10::Error where the layout does not fit the group or the tensors, and for options with a window:
/// blocks do not know how far their keys lie before their queries.
at::Tensor ring_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const ContextLayout& layout, const ops::AttentionOptions& options,
                          comm::Communicator& group);

}  // namespace phalanx::parallel
