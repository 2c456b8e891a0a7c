#include "lora/adapter_builder.h"

#include <ATen/Functions.h>

#include <limits>
#include <set>

#include "core/error.h"
#include "lora/adapted_product.h"

namespace phalanx::lora {
namespace {

using formats::LoraPart;

/// Holds one factor under the name that PEFT gives it.
class Factor : public model::Module {
 public:
  Factor(const at::Tensor& values, bool trainable) {
    weight = register_parameter("weight", values, trainable);
  }
  at::Tensor weight;
};

}  // namespace

AdapterBuilder::AdapterBuilder(model::CausalLm& model, formats::AdapterConfig config, at::ScalarType dtype,
                               bool trainable)
    : dtype_(dtype), trainable_(trainable) {
  std::set<std::string> whole;
  for (const PeftTensor& tensor : tensors_saved_whole(model, config)) {
    for (const formats::StoredTensor::Part& part : tensor.stored.parts) whole.insert(part.name);
    adapter_.tensors_.push_back(tensor);
  }
  for (auto& [name, parameter] : model.named_parameters()) {
    if (name.find(".lora_A.") != std::string::npos) {
      core::fail(core::ExitCode::kBug,
                 "the model carries an adapter already; merge it before adding another");
    }
    parameter.set_requires_grad(trainable && whole.contains(name));
  }
  adapter_.whole_.assign(whole.begin(), whole.end());
  adapter_.dtype_ = dtype;
  adapter_.config_ = std::move(config);
}

at::TensorOptions AdapterBuilder::options_of(const model::Linear& linear) const {
  return at::TensorOptions().dtype(dtype_).device(linear.weight.device());
}

at::Tensor AdapterBuilder::add_magnitude(model::Linear& linear) const {
  if (!adapter_.config_.use_dora) return {};
  // Adapter::settle() gives it its values; whoever forgets that meets NaN.
  return linear.register_parameter(
      "lora_magnitude_vector",
      at::full({linear.weight.size(0)}, std::numeric_limits<double>::quiet_NaN(), options_of(linear)),
      trainable_);
}

void AdapterBuilder::add_tensor(const PeftModule& module, LoraPart part, std::vector<int64_t> shape) {
  formats::StoredTensor stored{formats::adapter_tensor_name(module.name, part), {}};
  for (const auto& [name, linear] : module.parts) {
    if (part == LoraPart::kA && !stored.parts.empty()) break;
    stored.parts.push_back({name + std::string(formats::suffix_of(part)),
                            part == LoraPart::kA ? shape.front() : linear->weight.size(0)});
  }
  adapter_.tensors_.push_back({std::move(stored), std::move(shape)});
}

void AdapterBuilder::add(const PeftModule& module) {
  const int64_t r = formats::rank_of(adapter_.config_, module.name);
  const double scale = formats::scale_of(adapter_.config_, module.name);
  const int64_t in = module.parts.front().second->weight.size(1);
  int64_t rows = 0;
  at::Tensor a;
  for (const auto& [name, linear] : module.parts) {
    const int64_t out = linear->weight.size(0);
    rows += out;
    if (!a.defined())
      a = linear
              ->register_module("lora_A",
                                std::make_shared<Factor>(at::empty({r, in}, options_of(*linear)), trainable_))
              ->weight;
    const at::Tensor b =
        linear
            ->register_module("lora_B",
                              std::make_shared<Factor>(at::empty({out, r}, options_of(*linear)), trainable_))
            ->weight;
    AdaptedLinear added{name, module.name, linear, a, b, add_magnitude(*linear), scale};
    linear->set_product(adapted_product(added, adapter_.enabled_, trainable_));
    adapter_.modules_.push_back(std::move(added));
  }
  add_tensor(module, LoraPart::kA, {r, in});
  add_tensor(module, LoraPart::kB, {rows, r});
  if (adapter_.config_.use_dora) add_tensor(module, LoraPart::kMagnitude, {rows});
}

}  // namespace phalanx::lora
