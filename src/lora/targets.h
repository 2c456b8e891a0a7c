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

/// What PEFT's adapter_config.json says of an adapter with these options.
/// @throws core::Error (kBadConfig) as select_targets(), and for a pattern that is about no target, two that
/// contradict each other, or a module to save that the model does not have.
formats::AdapterConfig config_of(const model::CausalLm& model, const LoraOptions& options);

}  // namespace phalanx::lora
