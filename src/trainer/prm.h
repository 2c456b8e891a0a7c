#pragma once
#include <memory>
#include <vector>

#include "trainer/offline_method.h"

namespace phalanx::trainer {

/// `prm`: a process reward model (Lightman et al. 2023, arXiv:2305.20050), which says of each step of an
/// answer whether it is right (model::TransformerConfig::labels_tokens, num_labels = 2).
std::vector<MethodKind> prm_methods();

/// The mean over all judged steps of the global batch of -log softmax(score)[label] at the last token of the
/// step, as TRL's PRMTrainer learns with one batch on one device.
/// @param data  rows with labels 0 or 1 of the tokens themselves (Dataset::labelled_sequence).
/// @param last_step_only  of data.train only the last label of each row counts.
std::unique_ptr<Task> prm_task(std::shared_ptr<const OfflineData> data, bool last_step_only);

}  // namespace phalanx::trainer
