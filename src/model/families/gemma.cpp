// Everything that the framework knows about the Gemma 2 and Gemma 3 (text) families: norms before and behind
// attention and feed-forward part, all multiplying by 1 + weight; an embedding scaled by its width; layers of
// which some attend to a window; soft caps (2), norms of queries and keys and a rotary embedding of their own
// for sliding layers (3).
#include <fmt/format.h>

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

// Engines know the scale of the scores by the number of layers: that of the 27B models is another.
constexpr int64_t kGemma2Layers27B = 46, kGemma3Layers27B = 62;

double engine_scalar(const TransformerConfig& c, int64_t layers_27b) {
  const bool is_27b = c.num_hidden_layers == layers_27b;
  return static_cast<double>(is_27b ? c.hidden_size / c.num_attention_heads : c.head_dim);
}

void check_scalar(const TransformerConfig& c, int64_t layers_27b) {
  const double wanted = engine_scalar(c, layers_27b);
  const double scalar =
      c.query_pre_attn_scalar > 0 ? c.query_pre_attn_scalar : static_cast<double>(c.head_dim);
  if (scalar != wanted)
    refuse_gguf(c, fmt::format("query_pre_attn_scalar is {}, but engines compute with {}", scalar, wanted));
}

void check_gemma2(const TransformerConfig& c) {
  check_scalar(c, kGemma2Layers27B);
  if (!(c.attn_logit_softcapping > 0 && c.final_logit_softcapping > 0))
    refuse_gguf(c, "attn_logit_softcapping or final_logit_softcapping is null, but engines always cap");
}

void check_gemma3(const TransformerConfig& c) {
  check_scalar(c, kGemma3Layers27B);
  if (c.attn_logit_softcapping > 0 || c.final_logit_softcapping > 0)
    refuse_gguf(c, "attn_logit_softcapping or final_logit_softcapping is set, but engines do not cap");
}

void read_gemma2_keys(const formats::GgufKeys& keys, TransformerConfig& c) {
  c.attn_logit_softcapping =
      keys.positive_or("attn_logit_softcapping", kGemma2Defaults.attn_logit_softcapping);
  c.final_logit_softcapping =
      keys.positive_or("final_logit_softcapping", kGemma2Defaults.final_logit_softcapping);
  c.query_pre_attn_scalar = engine_scalar(c, kGemma2Layers27B);
}

void write_gemma2_keys(const TransformerConfig& c, formats::GgufKeyWriter& keys) {
  keys.number("attn_logit_softcapping", c.attn_logit_softcapping)
      .number("final_logit_softcapping", c.final_logit_softcapping);
}

void read_gemma3_keys(const formats::GgufKeys& keys, TransformerConfig& c) {
  c.rope_local_base_freq = keys.positive_or("rope.freq_base_swa", *kGemma3Defaults.rope_local_base_freq);
  c.query_pre_attn_scalar = engine_scalar(c, kGemma3Layers27B);
}

void write_gemma3_keys(const TransformerConfig& c, formats::GgufKeyWriter& keys) {
  keys.number("rope.freq_base_swa", c.rope_local_base_freq.value());
}

GgufArchitecture gemma2_gguf() {
  return {.name = "gemma2",
          .modules = join({gguf_ends(), gguf_sandwich_norms(), gguf_attention(), gguf_gated_mlp()}),
          .hidden_act = "gelu_pytorch_tanh",
          .window_period = 2,
          .tie = GgufTie::kAlways,
          .norms_are_one_more = true,
          .check = check_gemma2,
          .read_keys = read_gemma2_keys,
          .write_keys = write_gemma2_keys};
}

GgufArchitecture gemma3_gguf() {
  return {.name = "gemma3",
          .modules = join({gguf_ends(), gguf_sandwich_norms(), gguf_attention(), gguf_query_key_norms(),
                           gguf_gated_mlp()}),
          .hidden_act = "gelu_pytorch_tanh",
          .window_period = 6,
          .norms_are_one_more = true,
          .check = check_gemma3,
          .read_keys = read_gemma3_keys,
          .write_keys = write_gemma3_keys};
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
    .gguf = gemma2_gguf(),
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
    .gguf = gemma3_gguf(),
});

}  // namespace
}  // namespace phalanx::model
