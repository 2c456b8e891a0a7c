#include "model/rms_norm.h"

#include "model/parameter.h"
#include "ops/ops.h"

namespace phalanx::model {

RmsNorm::RmsNorm(int64_t hidden_size, double eps) : eps_(eps) {
  weight = register_parameter("weight", unallocated({hidden_size}));
}

at::Tensor RmsNorm::forward(const at::Tensor& x) const {
  const at::Tensor y = ops::rms_norm(x, weight, eps_);
  return entry_ ? entry_(y) : y;
}

std::pair<at::Tensor, at::Tensor> RmsNorm::forward(const at::Tensor& x, const at::Tensor& residual) const {
  auto result = ops::add_rms_norm(x, residual, weight, eps_);
  if (entry_) result.first = entry_(result.first);
  return result;
}

}  // namespace phalanx::model
