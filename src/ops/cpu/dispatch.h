#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

/// From tensors to the plain pointers of the CPU kernels.
namespace phalanx::ops::cpu {

/// Whether the fp32 or bf16 CPU kernels apply; everything else (fp64, CUDA) goes through ATen.
inline bool has_kernels(const at::Tensor& t) {
  return t.device().is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

/// Data as float or, for bf16, as its bits.
template <class T>
T* data(const at::Tensor& t) {
  return t.defined() ? static_cast<T*>(t.data_ptr()) : nullptr;
}

/// Calls f(float{}) or f(uint16_t{}) by the dtype of `t`.
template <class F>
void visit(const at::Tensor& t, const F& f) {
  if (t.scalar_type() == at::kFloat) {
    f(float{});
  } else {
    f(uint16_t{});
  }
}

}  // namespace phalanx::ops::cpu
