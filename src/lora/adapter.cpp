#include "lora/adapter.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "lora/adapter_builder.h"
#include "lora/targets.h"
#include "model/keyed_random.h"
#include "ops/sum_dtype.h"

namespace phalanx::lora {
namespace {

at::Tensor merge_one(const AdaptedLinear& m) {
  const at::Tensor merged = m.linear->weight.to(ops::sum_dtype(m.linear->weight), false, /*copy=*/true);
  merge_into(merged, m);
  return merged;
}

const AdaptedLinear* find_adapted(const std::vector<AdaptedLinear>& modules, const std::string& weight_name) {
  constexpr std::string_view kEnd = ".weight";
  const auto found = std::find_if(modules.begin(), modules.end(), [&](const AdaptedLinear& m) {
    return weight_name.size() == m.module.size() + kEnd.size() && weight_name.starts_with(m.module) &&
           weight_name.ends_with(kEnd);
  });
  return found == modules.end() ? nullptr : &*found;
}

// The last parts of the names, as PEFT writes them, where they mean the same modules; else the whole paths.
std::vector<std::string> target_names(const NamedLinears& targets, const NamedLinears& all) {
  std::set<std::string> chosen, parts, paths;
  for (const auto& [name, linear] : targets) {
    parts.insert(name.substr(name.rfind('.') + 1));
    paths.insert(name);
  }
  for (const auto& [name, linear] : all) {
    if (parts.contains(name.substr(name.rfind('.') + 1))) chosen.insert(name);
  }
  const std::set<std::string>& names = chosen == paths ? parts : paths;
  return {names.begin(), names.end()};
}

void check(const LoraOptions& options) {
  if (options.r < 1) core::fail(core::ExitCode::kBadConfig, "lora.r is {} but must be at least 1", options.r);
  if (options.dropout != 0) {
    core::fail(core::ExitCode::kBadConfig, "lora.dropout is {} but only 0 is implemented", options.dropout);
  }
}

}  // namespace

int64_t Adapter::num_parameters() const {
  int64_t count = 0;
  for (const AdaptedLinear& m : modules_) count += m.a.numel() + m.b.numel();
  return count;
}

model::WeightSource Adapter::merged(const model::CausalLm& model) const {
  return [base = model::weights_of(model), modules = modules_](const std::string& name) {
    const at::NoGradGuard no_grad;
    const AdaptedLinear* adapted = find_adapted(modules, name);
    return adapted ? merge_one(*adapted) : base(name);
  };
}

const AdaptedLinear* Adapter::find(const std::string& weight_name) const {
  return find_adapted(modules_, weight_name);
}

void merge_into(at::Tensor weight, const AdaptedLinear& adapted) {
  const at::NoGradGuard no_grad;
  weight.addmm_(adapted.b.to(weight.scalar_type()), adapted.a.to(weight.scalar_type()), 1.0, adapted.scale);
}

formats::AdapterConfig adapter_config(const model::CausalLm& model, const LoraOptions& options) {
  check(options);
  formats::AdapterConfig config;
  config.r = options.r;
  config.lora_alpha = options.alpha;
  config.use_rslora = options.use_rslora;
  config.target_modules = target_names(select_targets(model, options.target_modules), linears_of(model));
  return config;
}

Adapter apply(model::CausalLm& model, const LoraOptions& options, uint64_t seed, at::ScalarType dtype) {
  const formats::AdapterConfig config = adapter_config(model, options);
  AdapterBuilder builder(model, config, dtype);
  for (const auto& [name, linear] : select_targets(model, options.target_modules)) {
    const AdaptedLinear& added =
        builder.add(name, linear, options.r, formats::scale_of(config, name), /*trainable=*/true);
    const at::NoGradGuard no_grad;
    model::fill_uniform(added.a, 1.0 / std::sqrt(static_cast<double>(added.a.size(1))), seed,
                        name + ".lora_A.weight");
    at::Tensor(added.b).zero_();
  }
  return builder.finish();
}

}  // namespace phalanx::lora
