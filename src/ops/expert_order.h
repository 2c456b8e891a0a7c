#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace phalanx::ops {

/// N tokens, each seen by k experts, as R = N k rows sorted by expert; rows of one expert keep the order of
/// the tokens. Nothing is dropped, and nothing here adds in an order that could change.
struct ExpertOrder {
  at::Tensor slots;             // [R] int64: row r is choice slots[r] % k of token slots[r] / k
  at::Tensor positions;         // [N, k] int64: the row of each choice; the inverse of slots
  std::vector<int64_t> counts;  // [E]: rows of each expert, in host memory
};

/// @param experts  [N, k] int64: the experts of each token.
ExpertOrder expert_order(const at::Tensor& experts, int64_t num_experts);

/// 0, counts[0], counts[0] + counts[1], ...: where the rows of each expert begin, and the end.
std::vector<int64_t> offsets_of(const std::vector<int64_t>& counts);

/// Row r is the token that it stands for: x [N, h] -> [R, h]. The backward sums the k rows of a token in the
/// order of its choices, in fp32 (fp64). Whoever needs the rows for a backward saves x and not them.
at::Tensor to_expert_order(const at::Tensor& x, const ExpertOrder& order);

/// Back, the outputs of a token's experts weighted and summed: out[n] = sum_j weights[n, j] y[positions[n,
/// j]]. y [R, h]; weights [N, k] fp32 (fp64). Sums in fp32 (fp64), rounded once. -> [N, h] in the dtype of y.
/// Saves y and weights.
at::Tensor from_expert_order(const at::Tensor& y, const at::Tensor& weights, const ExpertOrder& order);

}  // namespace phalanx::ops
