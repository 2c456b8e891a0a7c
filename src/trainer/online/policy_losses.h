#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "data/batch.h"
#include "trainer/sample_sums.h"

namespace phalanx::trainer {

/// The rows of one micro-batch on this rank, [N] each; only rows with mask 1 count.
struct PolicyRows {
  at::Tensor logprobs;      // of the policy, differentiable
  at::Tensor old_logprobs;  // of the policy that sampled
  at::Tensor ref_logprobs;  // undefined where beta is 0
  at::Tensor advantages;
  at::Tensor mask;  // 1 or 0
};

/// Names and defaults of TRL 1.16.
struct PolicyLossOptions {
  std::string loss_type = "dapo";                   // grpo bnpo dr_grpo dapo cispo sapo luspo
  std::string importance_sampling_level = "token";  // token | sequence (GSPO)
  double epsilon = 0.2, epsilon_high = 0.2;
  std::optional<double> delta;  // upper bound of the unclipped ratio (two-sided clipping)
  double beta = 0;
  bool use_bias_correction_kl = true;
  double sapo_temperature_pos = 1.0, sapo_temperature_neg = 1.05;
  int64_t max_completion_length = 512;
};

/// Counts of the global batch of an optimizer step.
struct PolicyTotals {
  double samples = 0;
  double tokens = 0;  ///< with mask 1
};

/// With ratio = exp(log p - log p_old), of a token or (sequence; GSPO, Zheng et al. 2025, arXiv:2507.18071)
/// of the mean over a sample's tokens, and A the advantage, a token's loss is
///
///     grpo bnpo dr_grpo dapo luspo   -min(min(ratio, delta) A, clip(ratio, 1 - epsilon, 1 + epsilon_high) A)
///     cispo   -min(ratio, epsilon_high) A log p, no gradient through the ratio (MiniMax 2025,
///     arXiv:2506.13585) sapo    -4/t sigmoid(t (ratio - 1)) A, t by the sign of A (arXiv:2511.20347)
///
/// plus beta (exp(ref - log p) - (ref - log p) - 1), times the ratio with use_bias_correction_kl. What a
/// token's loss is multiplied by, so that the sum over all ranks and micro-batches is the loss of the step:
///
///     grpo sapo         1 / (samples x its sample's tokens)     (Shao et al. 2024, arXiv:2402.03300)
///     bnpo dapo cispo   1 / tokens                              (Yu et al. 2025, arXiv:2503.14476)
///     dr_grpo           1 / (samples x max_completion_length)   (Liu et al. 2025, arXiv:2503.20783)
///     luspo             1 / samples
///
/// Sends a few numbers a sample over `cp` with sequence level. Adds to `metrics`: kl, clip_ratio/low_mean,
/// high_mean, region_mean, low_min, high_max (cispo: cispo_clip_ratio).
at::Tensor policy_loss(const PolicyRows& rows, const PolicyLossOptions& options, const PolicyTotals& totals,
                       const data::Batch& local, comm::Communicator& cp, MetricSums& metrics);

/// RLOO (Ahmadian et al. 2024, arXiv:2402.14740): mean over samples of -min(ratio A, clip(ratio) A), ratio =
/// exp(sum over the sample of log p - log p_old). A is that of the sample's first counted row.
at::Tensor rloo_loss(const PolicyRows& rows, const PolicyLossOptions& options, const PolicyTotals& totals,
                     const data::Batch& local, comm::Communicator& cp, MetricSums& metrics);

}  // namespace phalanx::trainer
