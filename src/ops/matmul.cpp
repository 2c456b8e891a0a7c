#include "ops/matmul.h"

#include <ATen/ATen.h>

namespace phalanx::ops {

at::Tensor matmul_nt(const at::Tensor& a, const at::Tensor& b) {
  return at::linear(a, b);
}

at::Tensor matmul_nn(const at::Tensor& a, const at::Tensor& b) {
  return at::mm(a, b);
}

void matmul_tn_add(const at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (accumulator.scalar_type() == a.scalar_type()) {
    at::Tensor c = accumulator;
    c.addmm_(a.t(), b, 1.0, scale);
  } else {
    at::Tensor c = accumulator;
    c.add_(at::mm(a.t(), b), scale);
  }
}

at::Tensor matmul_tn(const at::Tensor& a, const at::Tensor& b, double scale) {
  at::Tensor c = at::mm(a.t(), b);
  return scale == 1.0 ? c : c.mul_(scale);
}

void matmul_nt_add_(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
  at::Tensor(c).addmm_(a, b.t(), 1.0, scale);
}

void matmul_nn_add_(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
  at::Tensor(c).addmm_(a, b, 1.0, scale);
}

}  // namespace phalanx::ops
