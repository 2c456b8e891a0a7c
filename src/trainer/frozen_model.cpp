#include "trainer/frozen_model.h"

#include <ATen/ATen.h>

#include <map>
#include <mutex>

#include "model/parameter.h"

namespace phalanx::trainer {
namespace {

std::shared_ptr<model::CausalLm> without_gradients(std::shared_ptr<model::CausalLm> model) {
  for (const auto& [name, parameter] : model::all_parameters(*model)) parameter.set_requires_grad(false);
  return model;
}

/// The adapters of the models that were built and not yet filled.
class BuiltAdapters {
 public:
  void put(const model::CausalLm& model, lora::Adapter adapter) {
    const std::lock_guard lock(guard_);
    adapters_.insert_or_assign(&model, std::move(adapter));
  }
  lora::Adapter take(const model::CausalLm& model) {
    const std::lock_guard lock(guard_);
    return std::move(adapters_.extract(&model).mapped());
  }

 private:
  std::mutex guard_;
  std::map<const model::CausalLm*, lora::Adapter> adapters_;
};

}  // namespace

FrozenModel with_adapter(FrozenModel base, lora::AdapterFiles adapter) {
  const auto built = std::make_shared<BuiltAdapters>();
  const auto build = [base, adapter = std::move(adapter), built] {
    auto model = base.build();
    built->put(*model, lora::load_adapter(*model, adapter, at::kFloat, /*trainable=*/false));
    return model;
  };
  const auto fill = [base, built](model::CausalLm& model, at::ScalarType dtype) {
    base.fill(model, dtype);
    built->take(model).settle(model);
    for (auto& [name, parameter] : model::all_parameters(model)) {  // the adapter's
      if (parameter.scalar_type() != dtype) parameter.set_data(parameter.to(dtype));
    }
  };
  return {build, fill};
}

FrozenCopy::FrozenCopy(const FrozenModel& frozen, const parallel::Mesh& mesh,
                       const parallel::DistributedOptions& options, at::ScalarType dtype)
    : model_(without_gradients(frozen.build())), distributed_(model_, mesh, options) {
  frozen.fill(*model_, dtype);
  distributed_.take_weights(dtype);
}

}  // namespace phalanx::trainer
