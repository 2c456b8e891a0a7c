#pragma once
#include <ATen/core/Tensor.h>

#include <utility>

namespace phalanx::ops {

/// y = x / sqrt(mean(x^2) + eps) * (w + offset) (Zhang & Sennrich 2019). x [N, h], weight [h]. Saves x and
/// 1/rms [N] fp32. The weight gradient goes into its GradSink where it has one. An offset other than 0
/// (Gemma's 1) is added in fp32; bf16 then takes ATen's operations, which is slower.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset = 0);
/// h = x + residual and its norm in one pass: returns {rms_norm(h), h}. Saves h and 1/rms.
std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& residual,
                                               const at::Tensor& weight, double eps, double offset = 0);

/// y = (x - mean(x)) / sqrt(var(x) + eps) * w + b (Ba et al. 2016, arXiv:1607.06450). x [N, h], weight and
/// bias [h]. Saves x, mean and 1/std. Gradients of weight and bias go into their GradSinks where they have
/// one.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

}  // namespace phalanx::ops
