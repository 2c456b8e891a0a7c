#pragma once
#include <string>

#include "core/config_field.h"

namespace phalanx::core {

/// A value as YAML on one line: null, true, 17, 2.0e-05, "a text", [0.9, 0.999].
std::string format_value(const Value& value);

}  // namespace phalanx::core
