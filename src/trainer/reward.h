#pragma once
#include <memory>
#include <vector>

#include "trainer/offline_method.h"

namespace phalanx::trainer {

/// `reward`: a model that scores answers (model::TransformerConfig::num_labels = 1).
std::vector<MethodKind> reward_methods();

/// The mean over the pairs of the global batch of reward_loss() of both answers' scores.
std::unique_ptr<Task> reward_task(std::shared_ptr<const OfflineData> data, double center_rewards_coefficient);

/// Of the rows of a sequence: 1 for the last token of each sample, where a score is read.
inline constexpr const char* kIsLast = "is_last";
void mark_last_rows(data::Sequence& sequence);

/// The score of each sample [S] at its last token, fp32 (fp64 for fp64), the same on every rank of cp and tp;
/// rows need kIsLast. Differentiable. Collective over cp.
at::Tensor sample_scores(parallel::DistributedModel& model, const data::Batch& local,
                         const at::Tensor& hidden);

}  // namespace phalanx::trainer
