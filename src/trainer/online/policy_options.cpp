#include "trainer/online/policy_options.h"

#include "trainer/alignment_options.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

template <class T>
void take(const std::optional<T>& given, T& value) {
  if (given) value = *given;
}

void take_critic(const core::Config& config, CriticOptions& o) {
  const auto& m = config.get<MethodOptions>();
  take(m.critic, o.kind);
  if (m.value_model && o.kind != "separate")
    fail_method_key(config, "value_model",
                    "is set, but method.critic is head, which has no model of its own; "
                    "set method.critic: separate, or leave it out");
  take(m.vf_coef, o.vf_coef);
  take(m.cliprange_value, o.cliprange_value);
  take(m.gamma, o.gamma);
  take(m.lam, o.lam);
  take(m.whiten_rewards, o.whiten_rewards);
  take(m.missing_eos_penalty, o.missing_eos_penalty);
  take(m.kl_estimator, o.kl_estimator);
}

void take_kl_control(const core::Config& config, double beta, KlControlOptions& o) {
  const auto& m = config.get<MethodOptions>();
  take(m.adap_kl_ctrl, o.is_adaptive);
  for (const auto& [key, value] : {std::pair{"target", m.target}, std::pair{"horizon", m.horizon}}) {
    if (value && !o.is_adaptive)
      fail_method_key(config, key,
                      "is set, but beta is fixed; set method.adap_kl_ctrl: true, or leave it out");
  }
  if (o.is_adaptive && beta == 0)
    fail_method_key(config, "adap_kl_ctrl", "is true, but beta is 0, which it could only multiply; try 0.05");
  take(m.target, o.target);
  take(m.horizon, o.horizon);
}

}  // namespace

PolicyOptions policy_options(const core::Config& config, PolicyOptions o) {
  const auto& m = config.get<MethodOptions>();
  take(m.beta, o.loss.beta);
  if (m.loss_type && !m.loss_type->empty()) o.loss.loss_type = m.loss_type->front();
  take(m.importance_sampling_level, o.loss.importance_sampling_level);
  take(m.epsilon, o.loss.epsilon);
  o.loss.epsilon_high = m.epsilon_high.value_or(o.loss.epsilon);
  o.loss.delta = m.delta;
  take(m.use_bias_correction_kl, o.loss.use_bias_correction_kl);
  take(m.max_completion_length, o.loss.max_completion_length);
  take(m.temperature, o.sampling.temperature);
  take(m.top_k, o.sampling.top_k);
  take(m.top_p, o.sampling.top_p);
  take(m.min_p, o.sampling.min_p);
  take(m.repetition_penalty, o.sampling.repetition_penalty);
  take(m.num_generations, o.num_generations);
  take(m.steps_per_generation, o.steps_per_generation);
  take(m.num_iterations, o.num_iterations);
  take(m.scale_rewards, o.scale_rewards);
  take(m.normalize_advantages, o.normalize_advantages);
  take(m.mask_truncated_completions, o.mask_truncated_completions);
  take(m.dynamic_sampling, o.dynamic_sampling);
  take(m.max_resampling, o.max_resampling);
  o.rollouts = m.rollouts;
  take_critic(config, o.critic);
  take_kl_control(config, o.loss.beta, o.kl_control);
  return o;
}

std::vector<std::string> policy_keys(const std::vector<std::string>& more) {
  std::vector<std::string> keys = {"beta",
                                   "num_generations",
                                   "max_completion_length",
                                   "steps_per_generation",
                                   "num_iterations",
                                   "epsilon",
                                   "epsilon_high",
                                   "temperature",
                                   "top_k",
                                   "top_p",
                                   "min_p",
                                   "repetition_penalty",
                                   "mask_truncated_completions",
                                   "dynamic_sampling",
                                   "max_resampling",
                                   "rollouts"};
  keys.insert(keys.end(), more.begin(), more.end());
  return keys;
}

}  // namespace phalanx::trainer
