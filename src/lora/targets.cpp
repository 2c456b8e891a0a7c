#include "lora/targets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/error.h"

namespace phalanx::lora {
namespace {

using core::ExitCode;
using Modules = std::vector<PeftModule>;

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('.') + 1);
}

bool matches(const std::string& module, const std::string& target) {
  return module == target || module.ends_with("." + target);
}

std::set<std::string> last_parts(const Modules& modules) {
  std::set<std::string> parts;
  for (const PeftModule& module : modules) parts.insert(last_part(module.name));
  return parts;
}

[[noreturn]] void refuse(const Modules& modules, const std::string& target) {
  core::fail(
      ExitCode::kBadConfig,
      "lora.target_modules: \"{}\" is no linear module of this model that can have an adapter; there are "
      "all-linear, {}",
      core::printable(target), fmt::join(last_parts(modules), ", "));
}

template <typename Value>
void check_patterns(const std::map<std::string, Value>& patterns, const Modules& targets, const char* key) {
  for (const auto& [pattern, value] : patterns) {
    const auto is_about = [&](const PeftModule& m) { return formats::pattern_names(pattern, m.name); };
    if (std::ranges::any_of(targets, is_about)) continue;
    core::fail(
        ExitCode::kBadConfig,
        "{}: \"{}\" is about no module that gets an adapter; a pattern is a regular expression that matches "
        "the end of the path of one, such as {}",
        key, core::printable(pattern), targets.front().name);
  }
}

void check_saved(const model::CausalLm& model, const std::vector<std::string>& modules_to_save) {
  for (const std::string& module : modules_to_save) {
    formats::AdapterConfig alone;
    alone.modules_to_save = {module};
    if (!module.empty() && !tensors_saved_whole(model, alone).empty()) continue;
    core::fail(
        ExitCode::kBadConfig,
        "lora.modules_to_save: \"{}\" is the end of the path of no module of this model; try lm_head or {}",
        core::printable(module), model.config().model_type == "gpt2" ? "wte" : "embed_tokens");
  }
}

}  // namespace

std::vector<PeftModule> select_targets(const model::CausalLm& model, const LoraOptions& options) {
  const std::vector<std::string>& targets = options.target_modules;
  formats::AdapterConfig saved;
  saved.modules_to_save = options.modules_to_save;
  Modules modules = peft_modules(model);
  const auto is_saved = [&](const PeftModule& module) { return formats::is_saved_whole(saved, module.name); };
  if (std::ranges::find(targets, "all-linear") != targets.end()) {
    std::erase_if(modules, is_saved);
    return modules;
  }
  if (targets.empty())
    core::fail(ExitCode::kBadConfig, "lora.target_modules is empty; use all-linear or module names");
  for (const std::string& target : targets) {
    if (std::ranges::none_of(modules, [&](const PeftModule& m) { return matches(m.name, target); }))
      refuse(modules, target);
  }
  std::erase_if(modules, [&](const PeftModule& m) {
    return std::ranges::none_of(targets, [&](const auto& target) { return matches(m.name, target); });
  });
  if (const auto both = std::ranges::find_if(modules, is_saved); both != modules.end())
    core::fail(
        ExitCode::kBadConfig,
        "{} is in lora.target_modules and in lora.modules_to_save; a module is adapted or trained whole",
        both->name);
  return modules;
}

std::vector<std::string> target_names(const Modules& targets, const Modules& all) {
  const std::set<std::string> parts = last_parts(targets);
  std::set<std::string> chosen, paths;
  for (const PeftModule& module : targets) paths.insert(module.name);
  for (const PeftModule& module : all) {
    if (parts.contains(last_part(module.name))) chosen.insert(module.name);
  }
  const std::set<std::string>& names = chosen == paths ? parts : paths;
  return {names.begin(), names.end()};
}

formats::AdapterConfig config_of(const model::CausalLm& model, const LoraOptions& options) {
  check_saved(model, options.modules_to_save);
  const Modules targets = select_targets(model, options);
  formats::AdapterConfig config;
  config.r = options.r;
  config.lora_alpha = options.alpha;
  config.use_rslora = options.use_rslora;
  config.use_dora = options.use_dora;
  config.modules_to_save = options.modules_to_save;
  config.rank_pattern = options.rank_pattern;
  config.alpha_pattern = options.alpha_pattern;
  config.target_modules = target_names(targets, peft_modules(model));
  config.fan_in_fan_out = std::ranges::any_of(targets, &PeftModule::is_transposed);
  check_patterns(config.rank_pattern, targets, "lora.rank_pattern");
  check_patterns(config.alpha_pattern, targets, "lora.alpha_pattern");
  return config;
}

}  // namespace phalanx::lora
