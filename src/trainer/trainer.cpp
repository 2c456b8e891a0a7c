#include "trainer/trainer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"
#include "ops/ops.h"
#include "trainer/lr_schedule.h"

namespace phalanx::trainer {
namespace {

struct TokenCounts {
  int64_t tokens = 0, targets = 0;
};

TokenCounts count_tokens(const std::vector<data::Batch>& batches, comm::Communicator& group) {
  at::Tensor counts = at::zeros({2}, at::kLong);
  int64_t* count = counts.mutable_data_ptr<int64_t>();
  for (const data::Batch& batch : batches) {
    count[0] += static_cast<int64_t>(batch.input_ids.size());
    count[1] += batch.num_target_tokens;
  }
  group.all_reduce(counts);
  return {count[0], count[1]};
}

/// Sum of the micro-step losses of all ranks in rank order: the same bits on every rank.
double sum_losses(const std::vector<double>& losses, comm::Communicator& group) {
  const at::Tensor mine = at::tensor(losses, at::kDouble);
  at::Tensor all = at::empty({mine.numel() * group.size()}, at::kDouble);
  group.all_gather(all, mine);
  double sum = 0;
  for (int64_t i = 0; i < all.numel(); ++i) sum += all.const_data_ptr<double>()[i];
  return sum;
}

std::vector<int64_t> record_ids(const std::vector<data::Batch>& batches) {
  std::vector<int64_t> ids;
  for (const data::Batch& batch : batches)
    ids.insert(ids.end(), batch.record_ids.begin(), batch.record_ids.end());
  return ids;
}

void check_finite(double loss, double grad_norm, int64_t step) {
  if (std::isfinite(loss) && std::isfinite(grad_norm)) return;
  core::fail(core::ExitCode::kNumerics,
             "step {}: loss is {} and grad_norm is {}; no weight was changed by this step. Resume from the "
             "last checkpoint with a "
             "lower optimizer.learning_rate, or train.precision: fp32",
             step, loss, grad_norm);
}

}  // namespace

Trainer::Trainer(model::CausalLm& model, const Method& method, const Loader& loader,
                 parallel::FlatParameters& parameters, parallel::Schedule& schedule,
                 parallel::GradSync& grad_sync, Optimizer& optimizer, comm::Communicator& group,
                 const TrainerOptions& options)
    : model_(model),
      method_(method),
      loader_(loader),
      parameters_(parameters),
      schedule_(schedule),
      grad_sync_(grad_sync),
      optimizer_(optimizer),
      group_(group),
      options_(options) {}

StepStats Trainer::train_step() {
  const std::vector<data::Batch> micro_batches = loader_.load(step_);
  const TokenCounts counts = count_tokens(micro_batches, group_);
  const double grad_scale = 1.0 / static_cast<double>(counts.targets);

  const std::vector<double> losses = schedule_.forward_backward(
      static_cast<int64_t>(micro_batches.size()),
      [&](int64_t i) { return method_.loss(model_, micro_batches[static_cast<size_t>(i)], grad_scale); },
      grad_sync_);
  grad_sync_.finish();  // waits for the reductions that overlapped with the backward

  const double loss = sum_losses(losses, group_);
  const double grad_norm = std::sqrt(ops::squared_norm(parameters_.grad()));
  check_finite(loss, grad_norm, step_ + 1);  // on every rank, before any weight moves
  const bool clip = options_.max_grad_norm > 0 && grad_norm > options_.max_grad_norm;
  const double clip_scale = clip ? options_.max_grad_norm / (grad_norm + 1e-6) : 1.0;

  const double rate =
      learning_rate(options_.schedule, options_.optimizer.learning_rate, step_, options_.max_steps);
  optimizer_.step(parameters_, ++step_, rate, clip_scale);
  tokens_seen_ += counts.tokens;
  return {step_, loss, grad_norm, rate, counts.tokens, counts.targets, record_ids(micro_batches)};
}

checkpoint::State Trainer::state() const {
  checkpoint::State state;
  for (const parallel::ParameterSlot& slot : parameters_.slots())
    state.tensors.push_back(checkpoint::whole_tensor(std::string(checkpoint::kWeightPrefix) + slot.name,
                                                     parameters_.master(slot)));
  for (const auto& [name, buffer] : optimizer_.state()) {
    for (const parallel::ParameterSlot& slot : parameters_.slots())
      state.tensors.push_back(checkpoint::whole_tensor("optimizer." + name + "." + slot.name,
                                                       parallel::FlatParameters::view(buffer, slot)));
  }
  state.scalars["step"] = step_;
  state.scalars["num_tokens"] = tokens_seen_;
  return state;
}

void Trainer::restore(const checkpoint::State& loaded) {
  step_ = loaded.scalars.at("step").get<int64_t>();
  tokens_seen_ = loaded.scalars.at("num_tokens").get<int64_t>();
  const std::vector<parallel::ParameterSlot>& slots = parameters_.slots();
  for (size_t i = 0; i < slots.size(); ++i)  // state() lists the weights first, in the order of the slots
    parameters_.set_master(slots[i].offset, loaded.tensors[i].local.view(-1));
}

}  // namespace phalanx::trainer
