#pragma once
#include <string>

#include "ops/activation.h"

namespace phalanx::model {

/// config.json's `hidden_act`. @throws core::Error (kBadInput) that lists the known names.
ops::Activation activation_of(const std::string& name);

}  // namespace phalanx::model
