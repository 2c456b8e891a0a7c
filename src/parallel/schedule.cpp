#include "parallel/schedule.h"

#include <c10/core/GradMode.h>

#include "model/kv_cache.h"

namespace phalanx::parallel {

std::vector<double> PlainSchedule::forward_backward(const StepWork& work, GradSync& grad_sync) {
  std::vector<double> losses;
  grad_sync.begin_step(work.num_micro_steps);
  for (int64_t i = 0; i < work.num_micro_steps; ++i) {
    const at::Tensor loss = work.loss(i, model_.forward(work.input(i)));
    grad_sync.before_backward(i);
    if (loss.requires_grad()) loss.backward();
    grad_sync.after_backward(i);
    losses.push_back(loss.item<double>());
  }
  return losses;
}

model::LayersOutput PlainSchedule::forward(const model::ModelInput& input, model::KvCache* cache) {
  const c10::NoGradGuard no_grad;
  model::LayersOutput output = model_.run_layers(input, {}, model_.all_layers(), cache);
  if (cache) cache->advance(input.cu_seqlens);
  return output;
}

}  // namespace phalanx::parallel
