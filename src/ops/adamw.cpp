#include "ops/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/dispatch.h"
#include "ops/cpu/kernels.h"
#include "ops/split_weights.h"

namespace phalanx::ops {

namespace {

constexpr int64_t kNormBlock = 1 << 16;  // elements summed together; fixed, so that threads change no bits
constexpr int64_t kGrain = 1 << 14;

void check(const at::Tensor& param, const at::Tensor& other, const char* name) {
  TORCH_CHECK(other.is_contiguous() && other.numel() == param.numel(), "adamw_: ", name,
              " must be contiguous with ", param.numel(), " elements, not ", other.numel());
}

void adamw_on_cpu(const at::Tensor& param, const at::Tensor& grad, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, const at::Tensor& lower,
                  const cpu::AdamWConstants& constants) {
  at::parallel_for(0, param.numel(), kGrain, [&](int64_t begin, int64_t end) {
    const auto* g = cpu::data<float>(grad) + begin;
    auto *m = cpu::data<float>(exp_avg) + begin, *v = cpu::data<float>(exp_avg_sq) + begin;
    if (lower.defined()) {
      cpu::kernels().adamw_split(cpu::data<uint16_t>(param) + begin, cpu::data<uint16_t>(lower) + begin, g, m,
                                 v, end - begin, constants);
    } else {
      cpu::kernels().adamw(cpu::data<float>(param) + begin, g, m, v, end - begin, constants);
    }
  });
}

struct Corrections {
  double first, second;  // 1 - b^t
};

void adamw_with_aten(at::Tensor param, const at::Tensor& grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                     const AdamWOptions& options, const Corrections& correction, double grad_scale) {
  const at::Tensor g = grad * grad_scale;
  exp_avg.mul_(options.beta1).add_(g, 1.0 - options.beta1);
  exp_avg_sq.mul_(options.beta2).addcmul_(g, g, 1.0 - options.beta2);
  const at::Tensor root = (exp_avg_sq / correction.second).sqrt_().add_(options.eps);
  param.mul_(1.0 - options.learning_rate * options.weight_decay)
      .addcdiv_(exp_avg, root, -options.learning_rate / correction.first);
}

}  // namespace

void adamw_(at::Tensor param, const at::Tensor& grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
            const AdamWOptions& options, int64_t step, double grad_scale, at::Tensor lower) {
  at::NoGradGuard no_grad;
  const Corrections correction{1.0 - std::pow(options.beta1, static_cast<double>(step)),
                               1.0 - std::pow(options.beta2, static_cast<double>(step))};
  check(param, grad, "grad");
  check(param, exp_avg, "exp_avg");
  check(param, exp_avg_sq, "exp_avg_sq");
  if (lower.defined()) check(param, lower, "lower");
  const bool is_split = lower.defined() && param.scalar_type() == at::kBFloat16;
  TORCH_CHECK(is_split || (!lower.defined() && param.scalar_type() == grad.scalar_type()),
              "adamw_: weights are ", param.scalar_type(), " and gradients ", grad.scalar_type(),
              "; bf16 weights need their lower halves, others none");
  if (param.device().is_cpu() && grad.scalar_type() == at::kFloat) {
    adamw_on_cpu(
        param, grad, exp_avg, exp_avg_sq, lower,
        {static_cast<float>(1.0 - options.learning_rate * options.weight_decay),
         static_cast<float>(options.learning_rate / correction.first), static_cast<float>(options.beta1),
         static_cast<float>(options.beta2), static_cast<float>(options.eps),
         static_cast<float>(1.0 / std::sqrt(correction.second)), static_cast<float>(grad_scale)});
    return;
  }
  const at::Tensor weights = is_split ? join_halves(param, lower) : param;
  adamw_with_aten(weights, grad, exp_avg, exp_avg_sq, options, correction, grad_scale);
  if (is_split) split_halves(weights, param, lower);
}

double squared_norm(const at::Tensor& tensor) {
  at::NoGradGuard no_grad;
  if (cpu::has_kernels(tensor)) {
    const at::Tensor x = tensor.contiguous();
    const int64_t blocks = (x.numel() + kNormBlock - 1) / kNormBlock;
    std::vector<double> partial(static_cast<size_t>(blocks));
    at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = i * kNormBlock, count = std::min(kNormBlock, x.numel() - begin);
        partial[static_cast<size_t>(i)] =
            x.scalar_type() == at::kFloat
                ? cpu::kernels().sum_of_squares_f32(cpu::data<float>(x) + begin, count)
                : cpu::kernels().sum_of_squares_bf16(cpu::data<uint16_t>(x) + begin, count);
      }
    });
    double total = 0.0;
    for (const double part : partial) total += part;
    return total;
  }
  return tensor.to(at::kDouble).square().sum().item<double>();
}

}  // namespace phalanx::ops
