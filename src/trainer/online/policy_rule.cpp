#include "trainer/online/policy_rule.h"

#include <cmath>

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

TokenValues spread_over_tokens(const std::vector<double>& values,
                               const std::vector<const Rollout*>& rollouts) {
  TokenValues advantages;
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

PolicyTargets grpo_targets(const Generation& generation, const PolicyOptions& options, double) {
  const auto rollouts = rollouts_of(generation);
  return {spread_over_tokens(
      group_advantages(rewards_of(rollouts, 0), group_size(generation), options.scale_rewards), rollouts)};
}

PolicyTargets rloo_targets(const Generation& generation, const PolicyOptions& options, double beta) {
  const auto rollouts = rollouts_of(generation);
  return {spread_over_tokens(leave_one_out_advantages(rewards_of(rollouts, beta), group_size(generation),
                                                      options.normalize_advantages),
                             rollouts)};
}

/// Over all tokens of answers that could be judged; those of others become 0.
void whiten_judged(TokenValues& values, const std::vector<const Rollout*>& rollouts, bool shifts_mean) {
  std::vector<double> flat;
  for (size_t i = 0; i < values.size(); ++i) {
    if (rollouts[i]->reward) flat.insert(flat.end(), values[i].begin(), values[i].end());
  }
  if (!flat.empty()) whiten(flat, shifts_mean);
  size_t next = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    for (double& value : values[i]) value = rollouts[i]->reward ? flat[next++] : 0.0;
  }
}

PolicyTargets reinforce_pp_targets(const Generation& generation, const PolicyOptions&, double beta) {
  const auto rollouts = rollouts_of(generation);
  TokenValues advantages;
  for (const Rollout* rollout : rollouts) {
    advantages.emplace_back();
    for (size_t t = 0; t < rollout->ids.size(); ++t) {
      const double penalty = beta == 0 ? 0 : beta * log_ratio_from(*rollout, t);
      advantages.back().push_back(rollout->reward.value_or(0) - penalty);
    }
  }
  whiten_judged(advantages, rollouts, true);
  return {std::move(advantages)};
}

/// Of a token from the reference; 0 without one.
double distance_of(const Rollout& rollout, size_t t, const std::string& estimator) {
  if (rollout.ref_logprobs.empty()) return 0;
  const double apart = rollout.ref_logprobs[t] - rollout.old_logprobs[t];
  return estimator == "k1" ? -apart : std::exp(apart) - 1 - apart;
}

/// Under TRL's names: means over answers.
struct PpoFigures {
  double kl = 0, entropy = 0, count = 0;
  Rewards scores = {};

  std::vector<Metric> metrics(double beta) const {
    const double penalty = -beta * kl / count, score = mean_of(scores);
    std::vector<Metric> all = {{"objective/entropy", entropy / count}, {"objective/scores", score}};
    if (beta == 0) return all;
    all.insert(all.end(), {{"objective/kl", kl / count},
                           {"objective/non_score_reward", penalty},
                           {"objective/rlhf_reward", penalty + score},
                           {"objective/kl_coef", beta}});
    return all;
  }
};

PolicyTargets ppo_targets(const Generation& generation, const PolicyOptions& options, double beta) {
  const CriticOptions& critic = options.critic;
  const auto rollouts = rollouts_of(generation);
  PpoFigures figures{.count = static_cast<double>(rollouts.size())};
  TokenValues rewards;
  for (const Rollout* rollout : rollouts) {
    rewards.emplace_back();
    for (size_t t = 0; t < rollout->ids.size(); ++t) {
      const double kl = distance_of(*rollout, t, critic.kl_estimator);
      figures.kl += kl;
      figures.entropy -= rollout->old_logprobs[t];
      rewards.back().push_back(-beta * kl);
    }
    figures.scores.push_back(rollout->reward);
    if (!rollout->reward) continue;
    if (rollout->finish_reason == "length") *figures.scores.back() -= critic.missing_eos_penalty;
    rewards.back().back() += *figures.scores.back();
  }
  if (critic.whiten_rewards) whiten_judged(rewards, rollouts, false);
  PolicyTargets targets;
  for (size_t i = 0; i < rollouts.size(); ++i) {
    const std::vector<double>& values = rollouts[i]->values;
    targets.advantages.push_back(generalised_advantages(rewards[i], values, critic.gamma, critic.lam));
    targets.returns.push_back(targets.advantages[i]);
    for (size_t t = 0; t < values.size(); ++t) targets.returns[i][t] += values[t];
  }
  whiten_judged(targets.advantages, rollouts, true);
  targets.kl = figures.kl / figures.count;
  targets.metrics = figures.metrics(beta);
  return targets;
}

}  // namespace

const PolicyRule& grpo_rule() {
  static const PolicyRule rule{"grpo", {}, false, false, grpo_targets, policy_loss};
  return rule;
}

const PolicyRule& rloo_rule() {
  static const PolicyRule rule = [] {
    PolicyRule r{"rloo", {}, true, false, rloo_targets, rloo_loss};
    r.defaults.num_generations = 2;
    r.defaults.loss.beta = 0.05;
    return r;
  }();
  return rule;
}

const PolicyRule& reinforce_pp_rule() {
  static const PolicyRule rule = [] {
    PolicyRule r{"reinforce_pp", {}, true, false, reinforce_pp_targets, policy_loss};
    r.defaults.num_generations = 1;
    r.defaults.loss.beta = 0.01;
    return r;
  }();
  return rule;
}

const PolicyRule& ppo_rule() {
  static const PolicyRule rule = [] {
    PolicyRule r{"ppo", {}, true, true, ppo_targets, ppo_loss};
    r.defaults.num_generations = 1;
    r.defaults.num_iterations = 4;
    r.defaults.loss.loss_type = "bnpo";
    r.defaults.loss.beta = 0.05;
    return r;
  }();
  return rule;
}

}  // namespace phalanx::trainer
