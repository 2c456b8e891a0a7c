#pragma once
#include <optional>
#include <string>
#include <vector>

#include "generate/sampling.h"
#include "trainer/online/policy_losses.h"

namespace phalanx::trainer {

struct MethodOptions;

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

  int64_t steps_per_cycle() const { return steps_per_generation * num_iterations; }
};

/// @param defaults  of the method.
PolicyOptions policy_options(const MethodOptions& method, PolicyOptions defaults);

/// The keys of section `method` that policy_options() reads, beside those of one method alone.
std::vector<std::string> policy_keys(const std::vector<std::string>& more);

}  // namespace phalanx::trainer
