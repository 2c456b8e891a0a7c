#pragma once
#include <string>
#include <vector>

#include "trainer/online/policy_losses.h"
#include "trainer/online/policy_options.h"
#include "trainer/online/rollout.h"

namespace phalanx::trainer {

/// [rollout][token]: rollouts in the order of the generation.
using TokenAdvantages = std::vector<std::vector<double>>;

/// What tells one online method from another.
struct PolicyRule {
  std::string name;
  PolicyOptions defaults;
  /// Whether beta lowers rewards (by the summed log ratio of the sampling policy to the reference) rather
  /// than adding a term to the loss: then advantages need old_logprobs and ref_logprobs of every rollout.
  bool beta_is_in_reward = false;
  TokenAdvantages (*advantages)(const Generation& generation, const PolicyOptions& options);
  at::Tensor (*loss)(const PolicyRows& rows, const PolicyLossOptions& options, const PolicyTotals& totals,
                     const data::Batch& local, comm::Communicator& cp, MetricSums& metrics);
};

/// Group-relative policy optimisation and its kin, by method.loss_type (advantages.h, policy_losses.h).
const PolicyRule& grpo_rule();
/// REINFORCE with a leave-one-out baseline; beta times the summed log ratio is taken off the reward.
const PolicyRule& rloo_rule();
/// REINFORCE++ (Hu 2025, arXiv:2501.03262): A_t = r - beta sum over i >= t of (log p_old,i - log p_ref,i),
/// then normalised over all tokens of the generation; clipped ratios of tokens, mean over all tokens.
const PolicyRule& reinforce_pp_rule();

}  // namespace phalanx::trainer
