#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::ops {

/// The dtype in which sums over numbers of `dtype` are formed, and in which the master weights of a model
/// that computes in `dtype` are kept: fp64 for fp64, else fp32.
inline at::ScalarType sum_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}
inline at::ScalarType sum_dtype(const at::Tensor& tensor) {
  return sum_dtype(tensor.scalar_type());
}

}  // namespace phalanx::ops
