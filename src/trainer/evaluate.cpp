#include "trainer/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "ops/ops.h"
#include "trainer/method.h"

namespace phalanx::trainer {

double EvalResult::perplexity() const {
  return std::exp(loss);
}

EvalResult evaluate(model::CausalLm& model, const data::Dataset& dataset,
                    std::optional<int64_t> max_sequences, comm::Communicator& group) {
  at::NoGradGuard no_grad;
  const int64_t count = std::min(dataset.num_sequences(), max_sequences.value_or(dataset.num_sequences()));
  const at::Tensor weight = model.output_weight();
  at::Tensor losses = at::zeros({count}, at::kDouble), targets = at::zeros({count}, at::kLong);
  for (int64_t i = group.rank(); i < count; i += group.size()) {
    const data::Batch batch = data::join({dataset.sequence(i)});
    const at::Tensor logprobs =
        ops::token_logprobs(model.hidden(model_input(batch, weight)), weight, labels(batch, weight));
    losses[i] = -logprobs.sum(at::kDouble);
    targets[i] = batch.num_target_tokens;
  }
  group.all_reduce(losses);  // each entry has one non-zero term: exact in any order
  group.all_reduce(targets);
  EvalResult result{0, targets.sum().item<int64_t>(), count};
  if (result.target_tokens == 0) core::fail(core::ExitCode::kBadInput, "data.eval has no token with a loss");
  for (int64_t i = 0; i < count; ++i) result.loss += losses.const_data_ptr<double>()[i];
  result.loss /= static_cast<double>(result.target_tokens);
  return result;
}

}  // namespace phalanx::trainer
