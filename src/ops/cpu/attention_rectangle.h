#pragma once
#include <ATen/core/Tensor.h>

/// Attention in which every query sees every key, from the packed products of gemm.h and the row kernels of
/// kernels.h, chunk by chunk (flash attention without a mask). Query heads read their key head as it lies.
/// The bits do not depend on the number of threads.
namespace phalanx::ops::cpu {

/// Whether the functions below take these tensors (fp32, bf16) on this machine.
bool can_attend_rectangle(const at::Tensor& q);

/// q [T, H, d], k and v [M, K, d]: rows of contiguous tensors, M > 0. The result joins out [T, H, d] and
/// lse [H, T] of earlier keys, fp32, weighted by the sums of exponentials; -inf where there was no key.
void attend_rectangle(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                      const at::Tensor& out, const at::Tensor& lse);

/// Adds to dq [T, H, d], dk and dv [M, K, d], fp32. dout as q; lse and delta [H, T] fp32, over all keys.
void attend_rectangle_backward(const at::Tensor& q, const at::Tensor& dout, const at::Tensor& lse,
                               const at::Tensor& delta, const at::Tensor& k, const at::Tensor& v,
                               double scale, const at::Tensor& dq, const at::Tensor& dk,
                               const at::Tensor& dv);

}  // namespace phalanx::ops::cpu
