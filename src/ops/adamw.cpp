#include "ops/adamw.h"

#include <ATen/ATen.h>

#include <cmath>

namespace phalanx::ops {

void adamw_(at::Tensor param, const at::Tensor& grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
            const AdamWOptions& options, int64_t step, double grad_scale, at::Tensor compute_copy) {
  at::NoGradGuard no_grad;
  const double correction1 = 1.0 - std::pow(options.beta1, static_cast<double>(step));
  const double correction2 = 1.0 - std::pow(options.beta2, static_cast<double>(step));
  const at::Tensor g = grad * grad_scale;
  exp_avg.mul_(options.beta1).add_(g, 1.0 - options.beta1);
  exp_avg_sq.mul_(options.beta2).addcmul_(g, g, 1.0 - options.beta2);
  const at::Tensor root = (exp_avg_sq / correction2).sqrt_().add_(options.eps);
  param.mul_(1.0 - options.learning_rate * options.weight_decay)
      .addcdiv_(exp_avg, root, -options.learning_rate / correction1);
  if (compute_copy.defined()) compute_copy.copy_(param);
}

double squared_norm(const at::Tensor& tensor) {
  at::NoGradGuard no_grad;
  return tensor.to(at::kDouble).square().sum().item<double>();
}

}  // namespace phalanx::ops
