#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "core/config.h"

namespace phalanx::launch {

/// Loss and perplexity of the model at `path` on data.eval, on the ranks that `config` asks for.
/// @param report  called on rank 0. @return an exit code. @throws core::Error.
int evaluate_model(const std::string& path, const core::Config& config,
                   const std::function<void(const nlohmann::ordered_json& row)>& report);

}  // namespace phalanx::launch
