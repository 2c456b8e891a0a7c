#pragma once
#include <cstdint>
#include <vector>

#include "generate/generate.h"
#include "parallel/distributed_model.h"

namespace phalanx::trainer {

/// options.num_samples completions of every prompt by a model that is spread over ranks, with its weights
/// where they are. Collective over the mesh; every rank gives the same prompts and gets all completions,
/// those of a prompt side by side. The copies of the model (mesh.batch(): context-parallel ranks hold whole
/// copies, too) share out the completions in blocks; inside a copy the ranks draw the same tokens from the
/// same logits. What a completion gets does not depend on the mesh but for the rounding of its logits: its
/// random numbers are those of its prompt and sample. With rollout.batch_invariant the rounding is that of
/// the training step, too, for any number of data-parallel ranks, ZeRO stage and number of stages; each of
/// tp's sizes has a rounding of its own.
///
/// One forward sends: over tp as in training; over pp the stream [N, h] from stage to stage, and the logits
/// [R, V] fp32 from the last one to all; with ZeRO-3 all weights, so that copies go on step by step together
/// until the last one is done.
/// @param stats     tokens of all prompts; times of this copy.
/// @param callback  called for the completions of this copy, on each of its ranks, with their places among
/// all;
///                  must answer the same on them.
/// @throws core::Error as generate::check_prompts(), the same on every rank; core::Stopped on every rank when
/// options.stop, which all ranks have or none, asks for it on one. A copy that is not asked finishes first.
std::vector<generate::Completion> generate(parallel::DistributedModel& model,
                                           const std::vector<std::vector<int32_t>>& prompts,
                                           const generate::GenerateOptions& options,
                                           generate::GenerateStats* stats = nullptr,
                                           const generate::TokenCallback& callback = {});

}  // namespace phalanx::trainer
