// Everything that the framework knows about the Gemma 2 and Gemma 3 (text) families: norms before and behind
// attention and feed-forward part, all multiplying by 1 + weight; an embedding scaled by its width; layers of
// which some attend to a window; soft caps (2), norms of queries and keys and a rotary embedding of their own
// for sliding layers (3).
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/config_json.h"
#include "model/decoder.h"

namespace phalanx::model {
namespace {

DecoderKind gemma2_kind() {
  return {.feed_forward = gated_mlp(),
          .norms = kSandwichNorms,
          .norm = NormKind::kRmsAroundOne,
          .scales_embedding = true};
}

DecoderKind gemma3_kind() {
  DecoderKind kind = gemma2_kind();
  kind.query_key_norm = QueryKeyNorm::kPerHead;
  return kind;
}

// What transformers' Gemma2Config and Gemma3TextConfig have for absent keys.
const TransformerConfig kGemma2Defaults = {.num_key_value_heads = 4,
                                           .head_dim = 256,
                                           .max_position_embeddings = 8192,
                                           .hidden_act = "gelu_pytorch_tanh",
                                           .tie_word_embeddings = true,
                                           .sliding_window = 4096,
                                           .query_pre_attn_scalar = 256,
                                           .attn_logit_softcapping = 50,
                                           .final_logit_softcapping = 30};
const TransformerConfig kGemma3Defaults = {.num_key_value_heads = 4,
                                           .head_dim = 256,
                                           .max_position_embeddings = 131072,
                                           .hidden_act = "gelu_pytorch_tanh",
                                           .rope_theta = 1e6,
                                           .rope_local_base_freq = 1e4,
                                           .tie_word_embeddings = true,
                                           .sliding_window = 4096,
                                           .query_pre_attn_scalar = 256};

/// Every pattern-th layer is full.
std::vector<bool> alternating(int64_t num_layers, int64_t pattern) {
  std::vector<bool> sliding;
  for (int64_t i = 0; i < num_layers; ++i) sliding.push_back((i + 1) % pattern != 0);
  return sliding;
}

void read_gemma(const formats::HfConfig& file, TransformerConfig& c, int64_t pattern) {
  c.attention_bias = file.find_boolean("attention_bias").value_or(false);
  c.query_pre_attn_scalar =
      file.find_number("query_pre_attn_scalar", 0, 1e9).value_or(c.query_pre_attn_scalar);
  c.attn_logit_softcapping = read_or_null(file, "attn_logit_softcapping", c.attn_logit_softcapping);
  c.final_logit_softcapping = read_or_null(file, "final_logit_softcapping", c.final_logit_softcapping);
  if (file.find_boolean("use_bidirectional_attention").value_or(false)) {
    core::fail(core::ExitCode::kBadInput,
               "{}: use_bidirectional_attention is true; only false is implemented", file.path().string());
  }
  c.sliding_window = read_window(file, c.sliding_window);
  c.sliding_layers = read_layer_types(file, c.num_hidden_layers);
  if (c.sliding_layers.empty()) c.sliding_layers = alternating(c.num_hidden_layers, pattern);
}

void read_gemma2(const formats::HfConfig& file, TransformerConfig& c) {
  read_gemma(file, c, 2);
}

void read_gemma3(const formats::HfConfig& file, TransformerConfig& c) {
  read_gemma(file, c, file.find_integer("sliding_window_pattern", 1, int64_t{1} << 31).value_or(6));
}

nlohmann::json number_or_null(double value) {
  return value > 0 ? nlohmann::json(value) : nlohmann::json(nullptr);
}

void write_gemma(const TransformerConfig& c, nlohmann::json& file) {
  file["attention_bias"] = c.attention_bias;
  file["hidden_activation"] = c.hidden_act;
  const auto whole = static_cast<int64_t>(c.query_pre_attn_scalar);
  const bool is_whole = static_cast<double>(whole) == c.query_pre_attn_scalar;
  file["query_pre_attn_scalar"] = is_whole ? nlohmann::json(whole) : nlohmann::json(c.query_pre_attn_scalar);
  file["attn_logit_softcapping"] = number_or_null(c.attn_logit_softcapping);
  file["final_logit_softcapping"] = number_or_null(c.final_logit_softcapping);
  file["sliding_window"] = c.sliding_window > 0 ? nlohmann::json(c.sliding_window) : nlohmann::json(nullptr);
  write_layer_types(c, file);
}

/// transformers 4 knows no layer_types; where every n-th layer is full, it has this.
void write_gemma3(const TransformerConfig& c, nlohmann::json& file) {
  write_gemma(c, file);
  for (int64_t pattern = 1; pattern <= c.num_hidden_layers + 1; ++pattern)
    if (alternating(c.num_hidden_layers, pattern) == c.sliding_layers)
      file["sliding_window_pattern"] = pattern;
}

[[maybe_unused]] const bool gemma2_registered = register_family({
    .name = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .defaults = kGemma2Defaults,
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, gemma2_kind()); },
    .sharding_plan = decoder_plan(gemma2_kind(), gated_mlp_plan()),
    .initial_norm_weight = 0,
    .read_config = read_gemma2,
    .write_config = write_gemma,
});

[[maybe_unused]] const bool gemma3_registered = register_family({
    .name = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .defaults = kGemma3Defaults,
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, gemma3_kind()); },
    .sharding_plan = decoder_plan(gemma3_kind(), gated_mlp_plan()),
    .initial_norm_weight = 0,
    .read_config = read_gemma3,
    .write_config = write_gemma3,
});

}  // namespace
}  // namespace phalanx::model
