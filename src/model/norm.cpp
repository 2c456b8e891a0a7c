#include "model/norm.h"

#include <ATen/Functions.h>

#include "model/parameter.h"
#include "ops/ops.h"

namespace phalanx::model {

std::pair<at::Tensor, at::Tensor> Norm::add_and_normalise(const at::Tensor& x,
                                                          const at::Tensor& residual) const {
  const at::Tensor sum = x + residual;
  return {normalise(sum), sum};
}

RmsNorm::RmsNorm(int64_t hidden_size, double eps, double offset) : eps_(eps), offset_(offset) {
  weight = register_parameter("weight", unallocated({hidden_size}));
}

at::Tensor RmsNorm::normalise(const at::Tensor& x) const {
  return ops::rms_norm(x, weight, eps_, offset_);
}

std::pair<at::Tensor, at::Tensor> RmsNorm::add_and_normalise(const at::Tensor& x,
                                                             const at::Tensor& residual) const {
  return ops::add_rms_norm(x, residual, weight, eps_, offset_);
}

LayerNorm::LayerNorm(int64_t hidden_size, double eps) : eps_(eps) {
  weight_ = register_parameter("weight", unallocated({hidden_size}));
  bias_ = register_parameter("bias", unallocated({hidden_size}));
}

at::Tensor LayerNorm::normalise(const at::Tensor& x) const {
  return ops::layer_norm(x, weight_, bias_, eps_);
}

std::shared_ptr<Norm> make_norm(NormKind kind, int64_t hidden_size, double eps) {
  switch (kind) {
    case NormKind::kRms:
      return std::make_shared<RmsNorm>(hidden_size, eps);
    case NormKind::kRmsAroundOne:
      return std::make_shared<RmsNorm>(hidden_size, eps, 1.0);
    case NormKind::kLayer:
      return std::make_shared<LayerNorm>(hidden_size, eps);
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace phalanx::model
