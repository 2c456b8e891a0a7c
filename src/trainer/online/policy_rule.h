#pragma once
#include <string>
#include <vector>

#include "trainer/online/policy_losses.h"
#include "trainer/online/policy_options.h"
#include "trainer/online/rollout.h"

namespace phalanx::trainer {

/// [rollout][token]: rollouts in the order of the generation.
using TokenValues = std::vector<std::vector<double>>;

/// What a generation teaches.
struct PolicyTargets {
  TokenValues advantages;
  TokenValues returns = {};          ///< for a critic; empty where there is none
  std::vector<Metric> metrics = {};  ///< of the generation, beside generation_metrics()
  double kl = 0;                     ///< mean distance of an answer from the reference, for KlControl
};

/// What tells one online method from another.
struct PolicyRule {
  std::string name;
  PolicyOptions defaults;
  /// Whether beta lowers rewards (by the summed log ratio of the sampling policy to the reference) rather
  /// than adding a term to the loss: then advantages need old_logprobs and ref_logprobs of every rollout.
  bool beta_is_in_reward = false;
  bool has_critic = false;  ///< then targets need old_logprobs and values, and there are returns
  /// @param beta  of this generation.
  PolicyTargets (*targets)(const Generation& generation, const PolicyOptions& options, double beta);
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
/// Proximal policy optimisation from rewards with a distance from a reference (Schulman et al. 2017,
/// arXiv:1707.06347; Ziegler et al. 2019, arXiv:1909.08593; keys and defaults of TRL 1.9's PPOConfig): a
/// token is worth -beta kl_t, the last one the answer's score besides; generalised advantages, whitened over
/// all tokens of the generation; returns are the advantages before that, plus the values. kl_t = log p_old -
/// log p_ref (k1) or exp(log p_ref - log p_old) - 1 - (log p_ref - log p_old) (k3).
const PolicyRule& ppo_rule();

}  // namespace phalanx::trainer
