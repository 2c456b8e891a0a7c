#pragma once
#include <nlohmann/json_fwd.hpp>

#include "formats/hf_config.h"
#include "model/transformer_config.h"

namespace phalanx::model {

/// Number of experts under either name, experts of a token, losses of the router.
void read_experts(const formats::HfConfig& file, TransformerConfig& config);
void write_experts(const TransformerConfig& config, nlohmann::json& file);

}  // namespace phalanx::model
