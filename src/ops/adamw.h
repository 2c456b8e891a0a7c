#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace phalanx::ops {

/// One decoupled-weight-decay Adam step (Loshchilov & Hutter 2019) in one pass over memory.
///     g' = grad_scale g;  m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2
///     p = p - lr (wd p + (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps))
/// param, grad, exp_avg, exp_avg_sq: contiguous, one length, fp32 (or all fp64). With `lower` defined, param
/// is the bf16 upper half of the fp32 weights and `lower` the other one (split_weights.h); the others are
/// fp32.
struct AdamWOptions {
  double learning_rate, beta1, beta2, eps, weight_decay;
};
void adamw_(at::Tensor param, const at::Tensor& grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
            const AdamWOptions& options, int64_t step, double grad_scale, at::Tensor lower = {});

/// Sum of squares of all elements in fp64, in a fixed order that depends on nothing but the length.
double squared_norm(const at::Tensor& tensor);

}  // namespace phalanx::ops
