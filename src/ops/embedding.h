#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

namespace phalanx::ops {

/// y[i] = weight[ids[i]]. ids [N] int64, weight [V, h] -> [N, h]. The backward adds rows in the order of i
/// for every token id, so it gives the same bits whatever the number of threads; it uses the weight's
/// GradSink where it has one. Tokens `padding_id` give their row no gradient, as torch.nn.Embedding's
/// padding_idx.
/// @throws c10::Error if an id is outside 0 .. V-1.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& weight, std::optional<int64_t> padding_id = {});

}  // namespace phalanx::ops
