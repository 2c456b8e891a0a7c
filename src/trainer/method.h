#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/causal_lm.h"

namespace phalanx::trainer {

/// A training method: what is computed from what the last layer leaves of one micro-batch. Losses are sums
/// over targets times `grad_scale`, the reciprocal of the target count of the whole global batch, so that
/// they do not depend on how the batch is cut. A model's auxiliary loss joins them: this micro-batch's part
/// of that of the global batch (model::RouterLoss).
struct Method {
  std::string name;
  std::string help;
  std::function<at::Tensor(model::CausalLm&, const model::LayersOutput& output, const data::Batch&,
                           double grad_scale)>
      loss;
};

bool register_method(Method method);
const Method& find_method(const std::string& name);  ///< throws core::Error (78) listing the known ones
std::vector<std::string> method_names();

/// The batch's tensors on `device`.
model::ModelInput model_input(const data::Batch& batch, at::Device device);
at::Tensor labels(const data::Batch& batch, at::Device device);

}  // namespace phalanx::trainer
