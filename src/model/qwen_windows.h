#pragma once
#include <nlohmann/json_fwd.hpp>

#include "formats/hf_config.h"
#include "model/transformer_config.h"

namespace phalanx::model {

/// Qwen's switch use_sliding_window. Where it is on, the layers that layer_types says slide, and without
/// layer_types those from max_window_layers on.
void read_qwen_windows(const formats::HfConfig& file, TransformerConfig& config);
void write_qwen_windows(const TransformerConfig& config, nlohmann::json& file);

}  // namespace phalanx::model
