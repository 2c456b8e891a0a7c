#pragma once
#include <nlohmann/json.hpp>

#include "formats/hf_config.h"
#include "model/transformer_config.h"

namespace phalanx::model {

/// A config.json of somebody else's, with the keys for which its family has other words under the common
/// names.
formats::HfConfig in_common_keys(const formats::HfConfig& file);

/// config.json -> TransformerConfig, with the family's defaults for absent keys. validated.
/// @throws core::Error (kBadInput) naming file and key for a value that is missing, impossible or not
/// implemented.
TransformerConfig parse_config(const formats::HfConfig& file);

/// The class that config.json names to transformers: the family's, or of a model that scores sequences
/// "LlamaForSequenceClassification", of one that scores tokens "LlamaForTokenClassification".
std::string architecture_of(const TransformerConfig& config);

/// @throws core::Error (kBadInput) if parse_config() left a key unread that is known to change what a model
/// computes, or if `architectures` names another class than the family's; lists what is supported.
void refuse_unread(const formats::HfConfig& file, const TransformerConfig& config);

/// The other way round: the whole config.json, in both spellings where transformers v4 and v5 differ.
nlohmann::json to_json(const TransformerConfig& config, core::DType dtype);

// For families: keys that several of them have.

/// null and 0 are none; an absent key is `absent`.
int64_t read_window(const formats::HfConfig& file, int64_t absent);
/// `layer_types`: which layers slide; empty where the key is absent.
std::vector<bool> read_layer_types(const formats::HfConfig& file, int64_t num_layers);
void write_layer_types(const TransformerConfig& config, nlohmann::json& file);
/// A number or null; `absent` where the key is absent, 0 for null.
double read_or_null(const formats::HfConfig& file, const char* key, double absent);

}  // namespace phalanx::model
