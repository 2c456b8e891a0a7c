#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/attention_options.h"

namespace phalanx::ops {

/// Causal attention inside each sample, never across: softmax(scale q k^T) v, with what the options
/// do to scores.
/// q [N, H, d], k and v [N, K, d] with H a multiple of K (grouped queries); cu_seqlens [S + 1] on the host.
/// Memory is linear in N: q, k, v, the output and one log-sum-exp per row and head are saved.
/// The kernels know no soft cap, and no window that is shorter than a sample: these take ATen's products in
/// chunks, several times slower.
at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& cu_seqlens, const AttentionOptions& options);

}  // namespace phalanx::ops
