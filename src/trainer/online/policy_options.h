#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "generate/sampling.h"
#include "trainer/online/kl_control.h"
#include "trainer/online/policy_losses.h"

namespace phalanx::trainer {

/// What a critic and its advantages are told; names and defaults of TRL 1.9's PPOConfig.
struct CriticOptions {
  std::string kind = "head";  // head | separate
  double vf_coef = 0.1, cliprange_value = 0.2;
  double gamma = 1.0, lam = 0.95;
  bool whiten_rewards = false;
  double missing_eos_penalty = 0;
  std::string kl_estimator = "k1";  // k1 | k3
};

/// What an online method is told, with its defaults: keys and defaults of TRL 1.16's GRPOConfig and
/// RLOOConfig.
struct PolicyOptions {
  PolicyLossOptions loss;
  generate::SamplingOptions sampling = {.temperature = 1.0};
  int64_t num_generations = 8;       ///< answers to a prompt
  int64_t steps_per_generation = 1;  ///< optimizer steps that share out the answers of one generation
  int64_t num_iterations = 1;        ///< times that they are gone through
  std::string scale_rewards = "group";
  bool normalize_advantages = false;
  bool mask_truncated_completions = false;
  bool dynamic_sampling = false;
  int64_t max_resampling = 10;          ///< rounds for one generation
  std::optional<std::string> rollouts;  ///< recorded answers in place of sampled ones
  KlControlOptions kl_control;
  CriticOptions critic;

  int64_t steps_per_cycle() const { return steps_per_generation * num_iterations; }
};

/// Section `method`. @param defaults  of the method. @throws core::Error (78) for keys that do not fit
/// together.
PolicyOptions policy_options(const core::Config& config, PolicyOptions defaults);

/// The keys of section `method` that policy_options() reads, beside those of one method alone.
std::vector<std::string> policy_keys(const std::vector<std::string>& more);

}  // namespace phalanx::trainer
