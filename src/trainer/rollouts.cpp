#include "trainer/rollouts.h"

#include "trainer/generation.h"

namespace phalanx::trainer {

std::vector<generate::Completion> rollouts(parallel::DistributedModel& model,
                                           const std::vector<std::vector<int32_t>>& prompts,
                                           int64_t num_generations, const generate::GenerateOptions& options,
                                           generate::GenerateStats* stats) {
  generate::GenerateOptions own = options;
  own.num_samples = num_generations;
  own.logprob_temperature = options.sampling.temperature > 0 ? options.sampling.temperature : 1.0;
  own.rounds_as_training = true;
  return generate(model, prompts, own, stats);
}

}  // namespace phalanx::trainer
