#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "data/batch.h"
#include "parallel/distributed_model.h"
#include "trainer/loader.h"
#include "trainer/online/policy_rule.h"
#include "trainer/online/rollout.h"

namespace phalanx::trainer {

// Names of row values: what belongs to a token stands in the row that predicts it.
inline constexpr const char* kAdvantages = "advantages";
inline constexpr const char* kOldLogprobs = "old_logprobs";
inline constexpr const char* kSamplingLogprobs = "sampling_logprobs";

/// The micro-batches of this rank's part of rollouts [first, first + global batch) of a generation, an answer
/// in each sequence. @param masks_truncated  answers with finish_reason "length" have no target.
std::vector<data::Batch> batches_of_rank(const Generation& generation, const TokenAdvantages& advantages,
                                         int64_t first, const LoaderOptions& sizes, bool masks_truncated);

/// Fills `member` of every rollout, [tokens], with what `logprobs` gives for its rows: the ranks share out
/// the rollouts, all get all. Collective over the mesh.
void fill_logprobs(Generation& generation, std::vector<double> Rollout::*member,
                   parallel::DistributedModel& model, const LoaderOptions& sizes,
                   const std::function<at::Tensor(const data::Batch& local)>& logprobs);

/// Figures of a generation (NaN for those of nothing) under TRL's names: reward, reward_std,
/// frac_reward_zero_std, rewards/TERM/mean and /std, completions/mean_length ...
std::vector<Metric> generation_metrics(const Generation& generation);

}  // namespace phalanx::trainer
