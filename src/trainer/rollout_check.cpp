#include "trainer/rollout_check.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "data/batch.h"
#include "ops/batch_invariant.h"
#include "ops/training_forward.h"
#include "trainer/method.h"
#include "trainer/sample_sums.h"

namespace phalanx::trainer {
namespace {

using generate::Completion;

/// A prompt and what followed it as one sample, with a label where a token was drawn.
data::Sequence sample_of(const std::vector<int32_t>& prompt, const Completion& completion) {
  data::Sequence sequence;
  sequence.input_ids = prompt;
  sequence.input_ids.insert(sequence.input_ids.end(), completion.ids.begin(), completion.ids.end());
  const size_t length = sequence.input_ids.size();
  sequence.labels.assign(length, static_cast<int32_t>(data::kIgnoredLabel));
  std::copy(completion.ids.begin(), completion.ids.end(),
            sequence.labels.begin() + static_cast<int64_t>(prompt.size()) - 1);
  for (size_t t = 0; t < length; ++t) sequence.position_ids.push_back(static_cast<int32_t>(t));
  sequence.lengths = {static_cast<int32_t>(length)};
  sequence.record_ids = {0};
  std::vector<double>& drawn = sequence.row_values["drawn_logprobs"];
  drawn.assign(length, 0);
  std::copy(completion.logprobs.begin(), completion.logprobs.end(),
            drawn.begin() + static_cast<int64_t>(prompt.size()) - 1);
  return sequence;
}

/// Samples that run together: as many as max_tokens allows.
std::vector<std::vector<data::Sequence>> batches_of(const std::vector<std::vector<int32_t>>& prompts,
                                                    const std::vector<Completion>& completions,
                                                    int64_t max_tokens) {
  const size_t group = prompts.empty() ? 1 : completions.size() / prompts.size();
  std::vector<std::vector<data::Sequence>> batches;
  int64_t tokens = max_tokens;
  for (size_t i = 0; i < completions.size(); ++i) {
    data::Sequence sequence = sample_of(prompts[i / group], completions[i]);
    tokens += sequence.lengths[0];
    if (tokens > max_tokens || batches.empty()) {
      batches.emplace_back();
      tokens = sequence.lengths[0];
    }
    batches.back().push_back(std::move(sequence));
  }
  return batches;
}

void count_in(LogprobMismatch& mismatch, const data::Batch& batch, const at::Tensor& trained) {
  const at::Tensor rows = trained.to(at::kDouble).cpu().contiguous();
  const std::vector<double>& drawn = batch.row_values.at("drawn_logprobs");
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == data::kIgnoredLabel) continue;
    const double d = rows.const_data_ptr<double>()[i] - drawn[i];
    ++mismatch.num_tokens;
    mismatch.largest = std::max(mismatch.largest, std::abs(d));
    mismatch.mean_kl += std::expm1(d) - d;  // the sum
  }
}

}  // namespace

LogprobMismatch logprob_mismatch(parallel::DistributedModel& model,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const std::vector<Completion>& completions, double temperature,
                                 bool batch_invariant, int64_t max_tokens) {
  const at::NoGradGuard no_grad;
  const ops::BatchInvariant invariant(batch_invariant);
  if (temperature == 0) temperature = 1;
  const ops::TrainingForward training;
  const at::Device device = model.parameters().options().device;
  const auto batches = batches_of(prompts, completions, max_tokens);
  comm::Communicator& copies = model.mesh().batch();
  LogprobMismatch mismatch;
  // All copies do the same number of forwards, which may be collective among them.
  for (size_t first = 0; first < batches.size(); first += static_cast<size_t>(copies.size())) {
    const size_t mine = first + static_cast<size_t>(copies.rank());
    const data::Batch batch = data::join(batches[std::min(mine, batches.size() - 1)]);
    const at::Tensor hidden = model.schedule().forward(model_input(batch, device)).hidden;
    if (!model.has_output()) continue;
    const at::Tensor rows = row_logprobs(model.model(), batch, hidden, {temperature});
    if (mine < batches.size()) count_in(mismatch, batch, rows);
  }
  model.drop_gathered();
  for (comm::Communicator* group : {&copies, &model.mesh().pp()}) {
    mismatch.num_tokens = group->all_reduce_scalar(mismatch.num_tokens);
    mismatch.largest = group->all_reduce_scalar(mismatch.largest, comm::ReduceOp::kMax);
    mismatch.mean_kl = group->all_reduce_scalar(mismatch.mean_kl);
  }
  if (mismatch.num_tokens > 0) mismatch.mean_kl /= static_cast<double>(mismatch.num_tokens);
  return mismatch;
}

}  // namespace phalanx::trainer
