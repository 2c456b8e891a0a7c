#pragma once
#include <string>
#include <vector>

#include "lora/lora_options.h"
#include "lora/peft_layout.h"

namespace phalanx::lora {

/// The modules that `options` targets: "all-linear" for all but those that are saved whole, otherwise those
/// whose path in PEFT's model is a target or ends in "." + target.
/// @throws core::Error (kBadConfig) for a target that names none (those that exist are listed), and for one
/// that is saved whole as well.
std::vector<PeftModule> select_targets(const model::CausalLm& model, const LoraOptions& options);

/// Names for target_modules: the last parts of the paths, as PEFT writes them, where they mean the same
/// modules of `all`; else the whole paths.
std::vector<std::string> target_names(const std::vector<PeftModule>& targets,
                                      const std::vector<PeftModule>& all);

/// What PEFT's adapter_config.json says of an adapter with these options.
/// @throws core::Error (kBadConfig) as select_targets(), and for a pattern that is about no target, two that
/// contradict each other, or a module to save that the model does not have.
formats::AdapterConfig config_of(const model::CausalLm& model, const LoraOptions& options);

}  // namespace phalanx::lora
