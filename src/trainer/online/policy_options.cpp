#include "trainer/online/policy_options.h"

#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

template <class T>
void take(const std::optional<T>& given, T& value) {
  if (given) value = *given;
}

}  // namespace

PolicyOptions policy_options(const MethodOptions& m, PolicyOptions o) {
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
