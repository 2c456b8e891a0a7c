#include "parallel/schedule.h"

#include <c10/core/GradMode.h>

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

model::LayersOutput PlainSchedule::forward(const model::ModelInput& input) {
  const c10::NoGradGuard no_grad;
  return model_.forward(input);
}

}  // namespace phalanx::parallel
