#include "trainer/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "trainer/method.h"

namespace phalanx::trainer {

double EvalResult::perplexity() const {
  return std::exp(loss);
}

namespace {

struct Sums {
  at::Tensor losses, targets;  // one entry per sequence
};

Sums zero_sums(int64_t count, at::Device device) {
  const at::TensorOptions options(device);
  return {at::zeros({count}, options.dtype(at::kDouble)), at::zeros({count}, options.dtype(at::kLong))};
}

int64_t num_evaluated(const data::Dataset& dataset, std::optional<int64_t> max_sequences) {
  return std::min(dataset.num_sequences(), max_sequences.value_or(dataset.num_sequences()));
}

EvalResult result_of(const Sums& sums) {
  EvalResult result{0, sums.targets.sum().item<int64_t>(), sums.losses.numel()};
  if (result.target_tokens == 0) core::fail(core::ExitCode::kBadInput, "data.eval has no token with a loss");
  for (int64_t i = 0; i < sums.losses.numel(); ++i) result.loss += sums.losses.const_data_ptr<double>()[i];
  result.loss /= static_cast<double>(result.target_tokens);
  return result;
}

void add(Sums& sums, int64_t sequence, const at::Tensor& logprobs, const data::Batch& batch) {
  sums.losses[sequence] = -logprobs.sum(at::kDouble);
  sums.targets[sequence] = batch.num_target_tokens;
}

}  // namespace

EvalResult evaluate(parallel::DistributedModel& model, const data::Dataset& dataset,
                    std::optional<int64_t> max_sequences) {
  at::NoGradGuard no_grad;
  const int64_t count = num_evaluated(dataset, max_sequences);
  const at::Device device = model.parameters().options().device;
  const comm::Communicator& dp = model.mesh().dp();
  Sums sums = zero_sums(count, device);
  // All data-parallel ranks do the same number of forwards, which may be collective among them; the last ones
  // of some are for company.
  for (int64_t first = 0; first < count; first += dp.size()) {
    const int64_t i = first + dp.rank();
    const data::Batch batch = model.local(data::join({dataset.sequence(std::min(i, count - 1))}));
    const at::Tensor hidden = model.schedule().forward(model_input(batch, device)).hidden;
    if (!model.has_output()) continue;
    const model::CausalLm& lm = model.model();
    const at::Tensor logprobs =
        lm.head().logprobs(hidden, model.model().output_weight(), labels(batch, device), {});
    if (i < count) add(sums, i, logprobs, batch);
  }
  model.drop_gathered();
  for (const at::Tensor& part : {sums.losses, sums.targets}) {
    model.mesh().batch().all_reduce(
        part);  // over dp each entry has one term that is not zero: exact in any order
    model.mesh().pp().all_reduce(part);
  }
  return result_of({sums.losses.cpu(), sums.targets.cpu()});
}

}  // namespace phalanx::trainer
