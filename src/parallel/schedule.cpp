#include "parallel/schedule.h"

namespace phalanx::parallel {

std::vector<double> PlainSchedule::forward_backward(int64_t num_micro_steps,
                                                    const std::function<at::Tensor(int64_t)>& forward,
                                                    GradSync& grad_sync) {
  std::vector<double> losses;
  grad_sync.begin_step(num_micro_steps);
  for (int64_t i = 0; i < num_micro_steps; ++i) {
    const at::Tensor loss = forward(i);
    grad_sync.before_backward(i);
    if (loss.requires_grad()) loss.backward();
    grad_sync.after_backward(i);
    losses.push_back(loss.item<double>());
  }
  return losses;
}

}  // namespace phalanx::parallel
