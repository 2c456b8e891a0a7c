#pragma once
#include <set>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/yaml_tree.h"

namespace phalanx::core {

/// Writes the values of `map` into `options`, whose keys are `fields`. Whatever does not fit goes to
/// `problems`, in words that name `prefix`.key, the value, what is allowed and the way out.
/// @return  whether every value could be used (unknown keys do not count).
bool bind_map(const YamlNode& map, const std::vector<Field>& fields, const std::string& prefix, void* options,
              std::vector<Problem>& problems);

/// "an integer >= 1, in steps": what a key accepts.
std::string expectation(const Field& field);

/// "unknown section X; did you mean Y? Known: ..." for a key at the top of the config.
std::string unknown_section_message(const std::string& name);

}  // namespace phalanx::core
