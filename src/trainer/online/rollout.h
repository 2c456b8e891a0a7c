#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace phalanx::trainer {

/// One sampled answer.
struct Rollout {
  std::vector<int32_t> ids;               ///< the new tokens, the stop token included
  std::vector<double> sampling_logprobs;  ///< as the sampler saw them; empty where they were not recorded
  std::vector<double> old_logprobs;       ///< of the trainer before the first update; empty where not needed
  std::vector<double> ref_logprobs;       ///< of the reference, where the reward needs them
  std::string text;                       ///< without special tokens
  std::string finish_reason;              ///< "stop" or "length"
  std::optional<double> reward;           ///< nothing: it could not be judged
  std::map<std::string, std::optional<double>> terms;  ///< of the reward, by name
};

/// The answers to one prompt.
struct RolloutGroup {
  int64_t record_id = 0;  ///< of the prompt
  std::string prompt;
  std::vector<int32_t> prompt_ids;
  std::vector<Rollout> rollouts;
  int64_t place = 0;  ///< of the prompt in the order in which the data is drawn, from 0
};

/// What one generation made, in the order of the global batch.
using Generation = std::vector<RolloutGroup>;

}  // namespace phalanx::trainer
