#include "model/rms_norm.h"

#include "model/parameter.h"
#include "ops/ops.h"

namespace phalanx::model {

RmsNorm::RmsNorm(int64_t hidden_size, double eps) : eps_(eps) {
  weight = register_parameter("weight", unallocated({hidden_size}));
}

at::Tensor RmsNorm::forward(const at::Tensor& x) const {
  return ops::rms_norm(x, weight, eps_);
}

std::pair<at::Tensor, at::Tensor> RmsNorm::forward(const at::Tensor& x, const at::Tensor& residual) const {
  return ops::add_rms_norm(x, residual, weight, eps_);
}

}  // namespace phalanx::model
