#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/causal_lm.h"
#include "model/linear.h"

namespace phalanx::lora {

using NamedLinears = std::vector<std::pair<std::string, std::shared_ptr<model::Linear>>>;

/// Every Linear of the model with its dotted path, in execution order, but the output matrix. A router's gate
/// and the matrices of experts count, as in PEFT.
NamedLinears linears_of(const model::CausalLm& model);

/// The targeted ones: "all-linear" for all, otherwise those whose path is a target or ends in "." + target.
/// @throws core::Error (kBadConfig) for a target that names none; the names that exist are listed.
NamedLinears select_targets(const model::CausalLm& model, const std::vector<std::string>& targets);

}  // namespace phalanx::lora
