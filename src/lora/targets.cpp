#include "lora/targets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/error.h"

namespace phalanx::lora {
namespace {

bool matches(const std::string& module, const std::string& target) {
  return module == target || module.ends_with("." + target);
}

[[noreturn]] void refuse(const NamedLinears& linears, const std::string& target) {
  std::set<std::string> last_parts;
  for (const auto& [name, linear] : linears) last_parts.insert(name.substr(name.rfind('.') + 1));
  core::fail(core::ExitCode::kBadConfig,
             "lora.target_modules: \"{}\" is no linear module of this model; there are all-linear, {}",
             core::printable(target), fmt::join(last_parts, ", "));
}

}  // namespace

NamedLinears linears_of(const model::CausalLm& model) {
  NamedLinears linears;
  for (const auto& [name, module] : model.named_modules()) {
    auto linear = std::dynamic_pointer_cast<model::Linear>(module);
    // The output matrix goes through the fused loss, not through Linear::forward: an adapter there would do
    // nothing.
    if (linear && name != "lm_head") linears.emplace_back(name, std::move(linear));
  }
  return linears;
}

NamedLinears select_targets(const model::CausalLm& model, const std::vector<std::string>& targets) {
  NamedLinears linears = linears_of(model);
  if (std::find(targets.begin(), targets.end(), "all-linear") != targets.end()) return linears;
  for (const std::string& target : targets) {
    const auto is_named = [&](const auto& item) { return matches(item.first, target); };
    if (std::none_of(linears.begin(), linears.end(), is_named)) refuse(linears, target);
  }
  std::erase_if(linears, [&](const auto& item) {
    return std::none_of(targets.begin(), targets.end(),
                        [&](const auto& target) { return matches(item.first, target); });
  });
  if (linears.empty())
    core::fail(core::ExitCode::kBadConfig, "lora.target_modules is empty; use all-linear or module names");
  return linears;
}

}  // namespace phalanx::lora
