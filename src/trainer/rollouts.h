#pragma once
#include <cstdint>
#include <vector>

#include "generate/generate.h"
#include "parallel/distributed_model.h"

namespace phalanx::trainer {

/// Samples `num_generations` completions of every prompt from the model that is being trained, with its
/// weights where they are: what online methods learn from. Collective over the mesh; every rank gives the
/// same arguments and gets all completions, those of prompt p at [p * num_generations, (p + 1) *
/// num_generations).
///
/// The copies of the model share out the prompts; a prompt is computed once for its group. Random numbers are
/// those of (options.sampling.seed, options.step, options.first_prompt + p, sample, position), so that
/// neither the mesh nor the batch nor the order of the prompts decides what is drawn; give options.step the
/// step of the run.
///
/// Completion::logprobs are log softmax(logits / temperature) of the tokens drawn, before top_k, top_p, min_p
/// and the repetition penalty: what row_logprobs(model, batch, hidden, temperature) says of the same tokens,
/// up to rounding. With temperature 0 they are those of temperature 1.
///
/// @param options  num_samples, logprob_temperature and rounds_as_training are set here.
/// @throws core::Error, core::Stopped as trainer::generate(), the same on every rank.
std::vector<generate::Completion> rollouts(parallel::DistributedModel& model,
                                           const std::vector<std::vector<int32_t>>& prompts,
                                           int64_t num_generations, const generate::GenerateOptions& options,
                                           generate::GenerateStats* stats = nullptr);

}  // namespace phalanx::trainer
