#include "trainer/online/policy_rule.h"

#include "trainer/online/advantages.h"

namespace phalanx::trainer {
namespace {

std::vector<const Rollout*> rollouts_of(const Generation& generation) {
  std::vector<const Rollout*> rollouts;
  for (const RolloutGroup& group : generation) {
    for (const Rollout& rollout : group.rollouts) rollouts.push_back(&rollout);
  }
  return rollouts;
}

double log_ratio_from(const Rollout& rollout, size_t token) {
  double sum = 0;
  for (size_t t = token; t < rollout.ref_logprobs.size(); ++t)
    sum += rollout.old_logprobs[t] - rollout.ref_logprobs[t];
  return sum;
}

TokenAdvantages spread_over_tokens(const std::vector<double>& values,
                                   const std::vector<const Rollout*>& rollouts) {
  TokenAdvantages advantages;
  for (size_t i = 0; i < rollouts.size(); ++i) advantages.emplace_back(rollouts[i]->ids.size(), values[i]);
  return advantages;
}

Rewards rewards_of(const std::vector<const Rollout*>& rollouts, double beta) {
  Rewards rewards;
  for (const Rollout* rollout : rollouts) {
    rewards.push_back(rollout->reward);
    if (rewards.back() && beta != 0) *rewards.back() -= beta * log_ratio_from(*rollout, 0);
  }
  return rewards;
}

size_t group_size(const Generation& generation) {
  return generation.front().rollouts.size();
}

TokenAdvantages grpo_advantages(const Generation& generation, const PolicyOptions& options) {
  const auto rollouts = rollouts_of(generation);
  return spread_over_tokens(
      group_advantages(rewards_of(rollouts, 0), group_size(generation), options.scale_rewards), rollouts);
}

TokenAdvantages rloo_advantages(const Generation& generation, const PolicyOptions& options) {
  const auto rollouts = rollouts_of(generation);
  return spread_over_tokens(leave_one_out_advantages(rewards_of(rollouts, options.loss.beta),
                                                     group_size(generation), options.normalize_advantages),
                            rollouts);
}

TokenAdvantages reinforce_pp_advantages(const Generation& generation, const PolicyOptions& options) {
  const auto rollouts = rollouts_of(generation);
  std::vector<double> flat;  // of all tokens of answers that could be judged
  for (const Rollout* rollout : rollouts) {
    for (size_t t = 0; rollout->reward && t < rollout->ids.size(); ++t) {
      const double penalty = options.loss.beta == 0 ? 0 : options.loss.beta * log_ratio_from(*rollout, t);
      flat.push_back(*rollout->reward - penalty);
    }
  }
  if (!flat.empty()) whiten(flat);
  TokenAdvantages advantages;
  size_t next = 0;
  for (const Rollout* rollout : rollouts) {
    advantages.emplace_back(rollout->ids.size(), 0.0);
    for (size_t t = 0; rollout->reward && t < rollout->ids.size(); ++t) advantages.back()[t] = flat[next++];
  }
  return advantages;
}

}  // namespace

const PolicyRule& grpo_rule() {
  static const PolicyRule rule{"grpo", {}, false, grpo_advantages, policy_loss};
  return rule;
}

const PolicyRule& rloo_rule() {
  static const PolicyRule rule = [] {
    PolicyRule r{"rloo", {}, true, rloo_advantages, rloo_loss};
    r.defaults.num_generations = 2;
    r.defaults.loss.beta = 0.05;
    return r;
  }();
  return rule;
}

const PolicyRule& reinforce_pp_rule() {
  static const PolicyRule rule = [] {
    PolicyRule r{"reinforce_pp", {}, true, reinforce_pp_advantages, policy_loss};
    r.defaults.num_generations = 1;
    r.defaults.loss.beta = 0.01;
    return r;
  }();
  return rule;
}

}  // namespace phalanx::trainer
