#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/attention_options.h"

namespace phalanx::model {

/// softmax(scale q k^T) v, with what the options do to scores, of new tokens over a cache that already holds
/// their own keys and values. q [N, H, d]; keys, values [E, K, capacity, d] of q's dtype; entry e had
/// lengths[e] tokens before, and row i of its new rows cu_seqlens[e] .. sees the first lengths[e] + (i -
/// cu_seqlens[e]) + 1 of them. Returns [N, H, d]. No gradient. bf16 and fp32 in host memory by an own kernel
/// (sums and softmax in fp32, long contexts cut into pieces that run in parallel); everything else through
/// ATen.
at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                            const std::vector<int64_t>& lengths, const std::vector<int32_t>& cu_seqlens,
                            const ops::AttentionOptions& options);

}  // namespace phalanx::model
