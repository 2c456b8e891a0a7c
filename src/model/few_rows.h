#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::model {

/// Products with a handful of rows, as decoding makes them: bound by the speed at which the weight streams
/// from memory, so the weight is read once, in order, and widened in registers. No autograd.
bool few_rows_applies(const at::Tensor& x, const at::Tensor& weight);

/// y = x W^T (+ b). x [N, in] and weight [out, in] of one dtype (fp32 or bf16, host memory); sums in fp32;
/// the result is in `out_dtype` (that dtype, or fp32: what logits want). Every row is computed the same way
/// whatever N is.
at::Tensor few_rows_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           at::ScalarType out_dtype);

}  // namespace phalanx::model
