#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace phalanx::checkpoint {

/// What the bits of a run depend on besides config, data and seed: library versions, compiler, CPU
/// capability, threads.
nlohmann::ordered_json current_environment();

/// One line for each value that differs, e.g. "libtorch is 2.11.0 but was 2.10.0 when the checkpoint was
/// written".
std::vector<std::string> environment_differences(const nlohmann::ordered_json& saved);

}  // namespace phalanx::checkpoint
