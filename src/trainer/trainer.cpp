#include "trainer/trainer.h"

#include <ATen/ATen.h>

#include <cmath>

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
    : model_(model), method_(method), optimizer_(optimizer), options_(options) {}

StepStats Trainer::train_step() {
  const std::vector<data::Batch> micro_batches = method_.load(step_);
  std::vector<data::Batch> local;
  for (const data::Batch& batch : micro_batches) local.push_back(model_.local(batch));
  const TokenCounts counts = count_tokens(local, model_.mesh().batch());
  method_.begin_step(local, counts);

  parallel::GradSync& grad_sync = model_.grad_sync();
  const parallel::StepWork work{
      static_cast<int64_t>(local.size()),
      [&](int64_t i) {
        return model_input(local[static_cast<size_t>(i)], model_.parameters().options().device);
      },
      [&](int64_t i, const model::LayersOutput& output) {
        return method_.loss(static_cast<size_t>(i), local[static_cast<size_t>(i)], output);
      }};
  const std::vector<double> losses = model_.schedule().forward_backward(work, grad_sync);
  grad_sync.finish();      // waits for the reductions that overlapped with the backward
  model_.drop_gathered();  // what is gathered again has the new weights

  const double loss = sum_losses(losses, model_.mesh());
  const double grad_norm = grad_sync.grad_norm();
  check_finite(loss, grad_norm, step_ + 1);  // on every rank, before any weight moves
  const bool clip = options_.max_grad_norm > 0 && grad_norm > options_.max_grad_norm;
  const double clip_scale = clip ? options_.max_grad_norm / (grad_norm + 1e-6) : 1.0;

  const double rate =
      learning_rate(options_.schedule, options_.optimizer.learning_rate, step_, options_.max_steps);
  optimizer_.step(model_.parameters().update_ranges(), ++step_, rate, clip_scale);
  grad_sync.after_update();
  tokens_seen_ += counts.tokens;
  return {step_,         loss,           grad_norm,         rate,
          counts.tokens, counts.targets, method_.metrics(), record_ids(micro_batches)};
}

checkpoint::State Trainer::state(bool for_loading) const {
  checkpoint::State state;
  state.tensors = owned_state(model_.parameters(), optimizer_, for_loading);
  state.scalars["step"] = step_;
  state.scalars["num_tokens"] = tokens_seen_;
  state.scalars["method"] = method_.state();
  return state;
}

void Trainer::restore(const checkpoint::State& loaded) {
  step_ = loaded.scalars.at("step").get<int64_t>();
  tokens_seen_ = loaded.scalars.at("num_tokens").get<int64_t>();
  method_.restore(loaded.scalars.at("method"));
  take_masters(model_.parameters(), loaded.tensors);
  model_.grad_sync().after_update();
}

}  // namespace phalanx::trainer
