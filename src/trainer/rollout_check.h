#pragma once
#include <cstdint>
#include <vector>

#include "generate/generate.h"
#include "parallel/distributed_model.h"

namespace phalanx::trainer {

/// How far the log-probabilities that tokens were drawn with are from those that a training step gives them.
struct LogprobMismatch {
  int64_t num_tokens = 0;
  double largest = 0;  ///< |difference|, nats
  double mean_kl = 0;  ///< mean of e^d - 1 - d, d = log p_trained - log p_drawn: KL(drawn || trained)
                       ///< (Schulman 2020, "Approximating KL divergence"), nats a token
};

/// Runs prompts and completions, in the order of rollouts(), as a training step would: packed, at most
/// `max_tokens` tokens at a time, without a gradient. The copies of the model share them out. Collective over
/// the mesh; the same on every rank.
LogprobMismatch logprob_mismatch(parallel::DistributedModel& model,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const std::vector<generate::Completion>& completions, double temperature,
                                 bool batch_invariant, int64_t max_tokens = 4096);

}  // namespace phalanx::trainer
