#include "model/qwen_windows.h"

#include <algorithm>

#include "model/config_json.h"

namespace phalanx::model {

void read_qwen_windows(const formats::HfConfig& file, TransformerConfig& c) {
  constexpr int64_t kWindow = 4096, kLayers = 28;  // of absent keys
  const bool is_on = file.find_boolean("use_sliding_window").value_or(false);
  const int64_t window = read_window(file, kWindow);
  const int64_t first = file.find_integer("max_window_layers", 0, int64_t{1} << 31).value_or(kLayers);
  c.sliding_layers = read_layer_types(file, c.num_hidden_layers);
  if (c.sliding_layers.empty()) {
    for (int64_t i = 0; i < c.num_hidden_layers; ++i) c.sliding_layers.push_back(i >= first);
  }
  const bool any =
      std::find(c.sliding_layers.begin(), c.sliding_layers.end(), true) != c.sliding_layers.end();
  c.sliding_window = is_on && any ? window : 0;
  if (c.sliding_window == 0) c.sliding_layers.clear();
}

void write_qwen_windows(const TransformerConfig& c, nlohmann::json& file) {
  const auto first = std::find(c.sliding_layers.begin(), c.sliding_layers.end(), true);
  file["use_sliding_window"] = c.sliding_window > 0;
  file["sliding_window"] = c.sliding_window > 0 ? nlohmann::json(c.sliding_window) : nlohmann::json(nullptr);
  // Without any that slide the number of layers, so that transformers 4 agrees.
  file["max_window_layers"] = c.sliding_window > 0 ? first - c.sliding_layers.begin() : c.num_hidden_layers;
  write_layer_types(c, file);
}

}  // namespace phalanx::model
