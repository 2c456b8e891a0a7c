#pragma once
#include <ATen/core/Tensor.h>

/// The three products of a linear layer on row-major matrices. fp64, fp32, bf16; sums in fp32 (fp64 for
/// fp64).
namespace phalanx::ops {

/// c [M, N] = a [M, K] b[N, K]^T, in the dtype of a.
at::Tensor matmul_nt(const at::Tensor& a, const at::Tensor& b);
/// c [M, N] = a [M, K] b [K, N], in the dtype of a.
at::Tensor matmul_nn(const at::Tensor& a, const at::Tensor& b);
/// accumulator [M, N] += scale a[K, M]^T b [K, N]; the accumulator is fp32 (or fp64 for fp64), contiguous.
void matmul_tn_add(const at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b,
                   double scale = 1.0);
/// c [M, N] = scale a[K, M]^T b [K, N] in the dtype of a.
at::Tensor matmul_tn(const at::Tensor& a, const at::Tensor& b, double scale = 1.0);
/// c [M, N] += scale a [M, K] b[N, K]^T, rounding c once per call.
void matmul_nt_add_(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale);
/// c [M, N] += scale a [M, K] b [K, N], rounding c once per call.
void matmul_nn_add_(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale);

}  // namespace phalanx::ops
