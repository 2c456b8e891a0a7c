#include "model/linear.h"

#include "model/few_rows.h"
#include "model/parameter.h"
#include "ops/ops.h"

namespace phalanx::model {

Linear::Linear(int64_t in_features, int64_t out_features, bool has_bias) {
  weight = register_parameter("weight", unallocated({out_features, in_features}));
  if (has_bias) bias = register_parameter("bias", unallocated({out_features}));
}

at::Tensor Linear::base(const at::Tensor& x) const {
  if (few_rows_applies(x, weight)) return few_rows_linear(x, weight, bias, weight.scalar_type());
  return ops::linear(x, weight, bias);
}

}  // namespace phalanx::model
