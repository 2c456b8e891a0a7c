#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "model/kv_pages.h"
#include "ops/attention_options.h"

namespace phalanx::model {

/// softmax(scale q k^T) v, with what the options do to scores, of new tokens over pages that already hold
/// their own keys and values: row i of a sequence's new rows sees its first length + i + 1 tokens. q [N, H,
/// d] of the pages' dtype, contiguous; out [N, H, d] is written at the rows of `sequences`. No gradient. bf16
/// and fp32 in host memory by an own kernel (sums and softmax in fp32, parallel over rows, key heads and
/// pieces of long contexts); everything else through ATen.
void cached_attention(const at::Tensor& q, const KvPages& pages, const std::vector<CachedRows>& sequences,
                      const ops::AttentionOptions& options, const at::Tensor& out);

/// Whether attend_as_training() knows these.
bool attends_as_training(const at::Tensor& q, const std::vector<CachedRows>& sequences,
                         const ops::AttentionOptions& options);
/// The same with the bits of ops::varlen_attention over the whole sequences: its kernel, for the last queries
/// alone. Pays for that by packing all keys and values of a sequence for every call.
/// @throws core::Error (78) for what that kernel does not know: other dtypes, soft caps, windows.
void attend_as_training(const at::Tensor& q, const KvPages& pages, const std::vector<CachedRows>& sequences,
                        const ops::AttentionOptions& options, const at::Tensor& out);

}  // namespace phalanx::model
