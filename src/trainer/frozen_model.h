#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

#include "lora/adapter.h"
#include "parallel/distributed_model.h"

namespace phalanx::trainer {

/// How to get the weights of a model that is not trained: unallocated, then filled in some dtype.
struct FrozenModel {
  std::function<std::shared_ptr<model::CausalLm>()> build;
  std::function<void(model::CausalLm&, at::ScalarType)> fill;
};

/// The same with a stored adapter on it. Ranks that are threads may build theirs at the same time.
FrozenModel with_adapter(FrozenModel base, lora::AdapterFiles adapter);

/// A model that is not trained on the ranks of a mesh, which must outlive it. Cut as `options` say: tp, pp
/// and ZeRO 3 share out its weights, else each rank has them whole.
class FrozenCopy {
 public:
  /// Collective. @throws core::Error (78) where the model does not fit the mesh.
  FrozenCopy(const FrozenModel& frozen, const parallel::Mesh& mesh,
             const parallel::DistributedOptions& options, at::ScalarType dtype);
  parallel::DistributedModel& model() { return distributed_; }

 private:
  std::shared_ptr<model::CausalLm> model_;
  parallel::DistributedModel distributed_;
};

}  // namespace phalanx::trainer
