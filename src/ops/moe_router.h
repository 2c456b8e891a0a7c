#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace phalanx::ops {

/// Which experts see each token, and how much of each output it gets (Jiang et al. 2024, arXiv:2401.04088).
struct Routing {
  at::Tensor experts;        // [N, k] int64, likeliest first; of equal ones the lower index
  at::Tensor weights;        // [N, k]: their probabilities; divided by the sum of the k where asked for
  at::Tensor probabilities;  // [N, E]: softmax over all experts
  at::Tensor log_z;          // [N]: log sum_e exp(logits[n, e])
};

/// @param logits  [N, E] in the compute dtype; everything computed from them is fp32 (fp64 for fp64).
/// Differentiable in logits through weights, probabilities and log_z; saves the first two and the experts.
Routing moe_router(const at::Tensor& logits, int64_t num_experts_per_tok, bool normalise_weights = true);

/// What the auxiliary losses need to know of routers, as sums over their tokens, so that those of layers,
/// micro-batches and ranks add up. fp64 [2 E + 2]: tokens sent to each expert, sums of probabilities per
/// expert, sum of log_z^2, number of tokens. Differentiable in probabilities and log_z.
/// @param counts  tokens sent to each expert (ExpertOrder::counts).
at::Tensor router_sums(const Routing& routing, const std::vector<int64_t>& counts);

/// Load balance over T tokens (Fedus et al. 2021, arXiv:2101.03961, eq. 4-6), for top-k as transformers does
/// it: E sum_e (sent_e / T) (sum of probabilities_e / T). k where all experts are alike. A token counts once
/// per layer. fp64 scalar.
/// @param sums    router_sums() of some tokens: the part of the loss that they add; differentiable.
/// @param totals  router_sums() of all T tokens, which sent_e and T are taken from.
at::Tensor load_balancing_loss(const at::Tensor& sums, const at::Tensor& totals);
/// Mean of log_z^2 (Zoph et al. 2022, arXiv:2202.08906, eq. 5), parts likewise: keeps router logits small.
/// fp64 scalar.
at::Tensor router_z_loss(const at::Tensor& sums, const at::Tensor& totals);

}  // namespace phalanx::ops
