#pragma once
#include <nlohmann/json.hpp>

#include "formats/hf_config.h"
#include "model/transformer_config.h"

namespace phalanx::model {

/// config.json -> TransformerConfig, with the family's defaults for absent keys. validated.
/// @throws core::Error (kBadInput) naming file and key for a value that is missing, impossible or not
/// implemented.
TransformerConfig parse_config(const formats::HfConfig& file);

/// The other way round: the whole config.json, in both spellings where transformers v4 and v5 differ.
nlohmann::json to_json(const TransformerConfig& config, core::DType dtype);

}  // namespace phalanx::model
