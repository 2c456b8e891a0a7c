#include "lora/adapter.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "lora/adapted_product.h"
#include "lora/adapter_builder.h"
#include "lora/targets.h"
#include "model/keyed_random.h"
#include "model/parameter.h"
#include "model/stored_weights.h"

namespace phalanx::lora {
namespace {

const AdaptedLinear* find_adapted(const std::vector<AdaptedLinear>& modules, const std::string& weight_name) {
  constexpr std::string_view kEnd = ".weight";
  const auto found = std::find_if(modules.begin(), modules.end(), [&](const AdaptedLinear& m) {
    return weight_name.size() == m.module.size() + kEnd.size() && weight_name.starts_with(m.module) &&
           weight_name.ends_with(kEnd);
  });
  return found == modules.end() ? nullptr : &*found;
}

void check(const LoraOptions& options) {
  if (options.r < 1) core::fail(core::ExitCode::kBadConfig, "lora.r is {} but must be at least 1", options.r);
  if (options.dropout != 0) {
    core::fail(core::ExitCode::kBadConfig, "lora.dropout is {} but only 0 is implemented", options.dropout);
  }
}

}  // namespace

void Adapter::set_enabled(bool enabled) {
  if (!enabled && !whole_.empty())
    core::fail(core::ExitCode::kBadConfig,
               "lora.modules_to_save trains {} itself, so that the base model is not there any more; leave "
               "modules_to_save out where a method asks the base",
               whole_.front());
  *enabled_ = enabled;
}

int64_t Adapter::num_parameters() const {
  int64_t count = 0;
  for (const PeftTensor& tensor : tensors_) count += c10::multiply_integers(tensor.shape);
  return count;
}

void Adapter::settle(model::CausalLm& model) const {
  const at::NoGradGuard no_grad;
  if (weights_) {
    model::NamedTensors whole = model.named_parameters();
    std::erase_if(whole, [this](const auto& item) { return !std::ranges::count(whole_, item.first); });
    for (auto& [name, parameter] : whole) parameter.set_data(at::empty(parameter.sizes(), dtype_));
    model::fill_weights(whole, model.named_parts(), *weights_, dtype_, where_);
    return;
  }
  for (const AdaptedLinear& m : modules_) {
    if (!m.magnitude.defined() || !model::is_allocated(m.linear->weight)) continue;  // another stage's
    at::Tensor(m.magnitude).copy_(row_norms(*m.linear, m.a, m.b, m.scale));
  }
}

model::WeightSource Adapter::merged(const model::CausalLm& model) const {
  return [base = model::weights_of(model), modules = modules_](const std::string& name) {
    const AdaptedLinear* adapted = find_adapted(modules, name);
    return adapted ? merged_weight(*adapted) : base(name);
  };
}

const AdaptedLinear* Adapter::find(const std::string& weight_name) const {
  return find_adapted(modules_, weight_name);
}

formats::AdapterConfig adapter_config(const model::CausalLm& model, const LoraOptions& options) {
  check(options);
  formats::AdapterConfig config = config_of(model, options);
  if (model.config().num_labels > 0)
    config.task_type = model.config().labels_tokens ? "TOKEN_CLS" : "SEQ_CLS";
  return config;
}

Adapter apply(model::CausalLm& model, const LoraOptions& options, uint64_t seed, at::ScalarType dtype) {
  AdapterBuilder builder(model, adapter_config(model, options), dtype, /*trainable=*/true);
  for (const PeftModule& module : select_targets(model, options)) builder.add(module);
  Adapter adapter = builder.finish();
  const at::NoGradGuard no_grad;
  for (const AdaptedLinear& m : adapter.modules()) {
    at::Tensor(m.b).zero_();
    // Drawn again for each part of a module, to the same numbers.
    model::fill_uniform(m.a, 1.0 / std::sqrt(static_cast<double>(m.a.size(1))), seed,
                        m.peft_module + ".lora_A.weight");
  }
  return adapter;
}

}  // namespace phalanx::lora
