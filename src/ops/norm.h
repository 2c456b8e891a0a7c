#pragma once
#include <ATen/core/Tensor.h>

#include <utility>

namespace phalanx::ops {

/// y = x / sqrt(mean(x^2) + eps) * w (Zhang & Sennrich 2019). x [N, h], weight [h]. Saves x and 1/rms [N]
/// fp32. The weight gradient goes into its GradSink where it has one.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
/// h = x + residual and its norm in one pass: returns {rms_norm(h), h}. Saves h and 1/rms.
std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& residual,
                                               const at::Tensor& weight, double eps);

}  // namespace phalanx::ops
