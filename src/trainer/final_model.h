#pragma once
#include <filesystem>
#include <functional>

#include "model/save.h"
#include "trainer/model_setup.h"

namespace phalanx::trainer {

/// Writes what the run is for: a PEFT adapter, or a Hugging Face folder in ModelSetup::saved_dtype(), with
/// the tokenizer's files. It is written beside `folder`, read back by a fresh loader, compared by
/// log-probabilities with the trained weights as these files hold them, and only then renamed to `folder` (an
/// older one is replaced).
/// @param build  the model as it was set up, with its adapter, where it has one; without weights.
/// @param weights  whole masters by parameter name, one at a time
/// (parallel::DistributedModel::with_whole_weights).
/// @param compute  dtype in which the run computed.
/// @throws core::Error (kBug) if what was read back answers differently; `folder` is then left alone.
void write_final_model(const std::filesystem::path& folder, const std::function<TrainedModel()>& build,
                       const ModelSetup& setup, const model::WeightSource& weights, at::ScalarType compute);

}  // namespace phalanx::trainer
