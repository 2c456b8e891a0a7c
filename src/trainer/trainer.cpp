#include "trainer/trainer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <span>
#include <utility>

#include "core/error.h"
#include "trainer/lr_schedule.h"
#include "trainer/saved_state.h"

namespace phalanx::trainer {
namespace {

TokenCounts count_tokens(const std::vector<data::Batch>& batches, comm::Communicator& group) {
  TokenCounts mine;
  for (const data::Batch& batch : batches) {
    mine.tokens += static_cast<int64_t>(batch.input_ids.size());
    mine.targets += batch.num_target_tokens;
  }
  at::Tensor counts = at::tensor({mine.tokens, mine.targets}, at::kLong).to(group.device());
  group.all_reduce(counts);
  counts = counts.cpu();
  return {counts[0].item<int64_t>(), counts[1].item<int64_t>()};
}

/// Sum of the micro-step losses of all ranks in rank order: the same bits on every rank. Stages without a
/// loss have zeros.
double sum_losses(const std::vector<double>& losses, const parallel::Mesh& mesh) {
  comm::Communicator& group = mesh.batch();
  const at::Tensor mine = at::tensor(losses, at::kDouble).to(group.device());
  at::Tensor all = at::empty({mine.numel() * group.size()}, mine.options());
  group.all_gather(all, mine);
  all = all.cpu();
  double sum = 0;
  for (int64_t i = 0; i < all.numel(); ++i) sum += all.const_data_ptr<double>()[i];
  return mesh.pp().all_reduce_scalar(sum);
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

Trainer::Trainer(parallel::DistributedModel& model, Method& method, Optimizer& optimizer,
                 const TrainerOptions& options)
    : model_(model), method_(method), options_(options) {
  const auto loss = [&method](size_t i, const data::Batch& local, const model::LayersOutput& output) {
    return method.loss(i, local, output);
  };
  parts_.push_back({{"", model, loss}, &optimizer});
  for (Companion& companion : method.companions()) {
    of_companions_.push_back(make_optimizer(options.optimizer, companion.model.parameters()));
    parts_.push_back({std::move(companion), of_companions_.back().get()});
  }
}

/// Leaves the whole gradient. @return the loss.
double Trainer::forward_backward(const Part& part, const std::vector<data::Batch>& local) {
  parallel::DistributedModel& model = part.trained.model;
  const parallel::StepWork work{
      static_cast<int64_t>(local.size()),
      [&](int64_t i) {
        return model_input(local[static_cast<size_t>(i)], model.parameters().options().device);
      },
      [&](int64_t i, const model::LayersOutput& output) {
        return part.trained.loss(static_cast<size_t>(i), local[static_cast<size_t>(i)], output);
      }};
  const std::vector<double> losses = model.schedule().forward_backward(work, model.grad_sync());
  model.grad_sync().finish();  // waits for the reductions that overlapped with the backward
  model.drop_gathered();       // what is gathered again has the new weights
  return sum_losses(losses, model.mesh());
}

StepStats Trainer::train_step() {
  const std::vector<data::Batch> micro_batches = method_.load(step_);
  std::vector<data::Batch> local;
  for (const data::Batch& batch : micro_batches) local.push_back(model_.local(batch));
  const TokenCounts counts = count_tokens(local, model_.mesh().batch());
  method_.begin_step(local, counts);

  double loss = 0, grad_norm = 0;
  for (const Part& part : parts_) {
    loss += forward_backward(part, local);
    grad_norm = std::hypot(grad_norm, part.trained.model.grad_sync().grad_norm());
  }
  check_finite(loss, grad_norm, step_ + 1);  // on every rank, before any weight moves
  const bool clip = options_.max_grad_norm > 0 && grad_norm > options_.max_grad_norm;
  const double clip_scale = clip ? options_.max_grad_norm / (grad_norm + 1e-6) : 1.0;

  const double rate =
      learning_rate(options_.schedule, options_.optimizer.learning_rate, step_, options_.max_steps);
  ++step_;
  for (const Part& part : parts_) {
    parallel::DistributedModel& model = part.trained.model;
    part.optimizer->step(model.parameters().update_ranges(), step_, rate, clip_scale);
    model.grad_sync().after_update();
  }
  tokens_seen_ += counts.tokens;
  return {step_,         loss,           grad_norm,         rate,
          counts.tokens, counts.targets, method_.metrics(), record_ids(micro_batches)};
}

checkpoint::State Trainer::state(bool for_loading) const {
  checkpoint::State state;
  for (const Part& part : parts_) {
    for (checkpoint::TensorSlice& slice :
         owned_state(part.trained.model.parameters(), *part.optimizer, part.trained.prefix, for_loading))
      state.tensors.push_back(std::move(slice));
  }
  state.scalars["step"] = step_;
  state.scalars["num_tokens"] = tokens_seen_;
  state.scalars["method"] = method_.state();
  return state;
}

void Trainer::restore(const checkpoint::State& loaded) {
  step_ = loaded.scalars.at("step").get<int64_t>();
  tokens_seen_ = loaded.scalars.at("num_tokens").get<int64_t>();
  method_.restore(loaded.scalars.at("method"));
  std::span<const checkpoint::TensorSlice> left = loaded.tensors;
  for (const Part& part : parts_) {
    const size_t weights = take_masters(part.trained.model.parameters(), left);
    left = left.subspan(weights * (1 + part.optimizer->state().size()));
    part.trained.model.grad_sync().after_update();
  }
}

}  // namespace phalanx::trainer
