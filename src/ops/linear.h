#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::ops {

/// y = x W^T (+ b). x [N, in], weight [out, in] of the same dtype, bias [out] or undefined.
/// Saves x only if the weight needs a gradient. The input gradient and the weight gradient are separate
/// products. Weight and bias gradients go into their GradSink where they have one.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// Low-rank adapted product (Hu et al. 2021): y = x W^T + scale (x A^T) B^T with W frozen.
/// x [N, in], weight [out, in] (no gradient), lora_a [r, in], lora_b [out, r]; all of one dtype.
/// Saves x and x A^T; the delta is added in place, never materialised beside y.
at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& lora_a,
                       const at::Tensor& lora_b, double scale);

/// x [N, out] + bias [out]; the gradient of the bias goes into its GradSink where it has one.
at::Tensor add_bias(const at::Tensor& x, const at::Tensor& bias);

}  // namespace phalanx::ops
