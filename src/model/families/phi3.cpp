// Everything that the framework knows about the Phi-3 family: Llama's decoder in files that hold the
// projections into attention, and those into the feed-forward part, as one matrix each.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "formats/stored_tensor.h"
#include "model/config_json.h"
#include "model/decoder.h"

namespace phalanx::model {
namespace {

DecoderKind phi3_kind() {
  return {.feed_forward = gated_mlp()};
}

std::vector<formats::StoredTensor> phi3_tensors(const TransformerConfig& c) {
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  std::vector<formats::StoredTensor> stored;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string attention = fmt::format("model.layers.{}.self_attn.", i),
                      mlp = fmt::format("model.layers.{}.mlp.", i);
    stored.push_back({attention + "qkv_proj.weight",
                      {{attention + "q_proj.weight", q},
                       {attention + "k_proj.weight", kv},
                       {attention + "v_proj.weight", kv}}});
    stored.push_back(
        {mlp + "gate_up_proj.weight",
         {{mlp + "gate_proj.weight", c.intermediate_size}, {mlp + "up_proj.weight", c.intermediate_size}}});
  }
  return stored;
}

void read_phi3(const formats::HfConfig& file, TransformerConfig& c) {
  c.sliding_window = read_window(file, 0);
  file.find_integer("original_max_position_embeddings", 1, int64_t{1} << 31);  // of longrope alone
}

void write_phi3(const TransformerConfig& c, nlohmann::json& file) {
  file["sliding_window"] = c.sliding_window > 0 ? nlohmann::json(c.sliding_window) : nlohmann::json(nullptr);
  file["original_max_position_embeddings"] = c.max_position_embeddings;
  file["resid_pdrop"] = file["embd_pdrop"] = 0.0;
}

// Engines ignore the window, but files have it.
void read_phi3_keys(const formats::GgufKeys& keys, TransformerConfig& c) {
  c.sliding_window = keys.integer_or("attention.sliding_window", 0, 0, formats::kMaxGgufContext);
}

GgufArchitecture phi3_gguf() {
  const std::string layer = "model.layers.*.", attention = layer + "self_attn.", mlp = layer + "mlp.";
  return {.name = "phi3",
          .modules =
              join({gguf_ends(),
                    gguf_pre_norms(),
                    {{"blk.*.attn_qkv", {attention + "q_proj", attention + "k_proj", attention + "v_proj"}},
                     {"blk.*.attn_output", {attention + "o_proj"}},
                     {"blk.*.ffn_up", {mlp + "gate_proj", mlp + "up_proj"}},
                     {"blk.*.ffn_down", {mlp + "down_proj"}}}}),
          .heads_fill_width = true,
          .read_keys = read_phi3_keys};
}

[[maybe_unused]] const bool phi3_registered = register_family({
    .name = "phi3",
    .architecture = "Phi3ForCausalLM",
    // What transformers' Phi3Config has for absent keys.
    .defaults = {.max_position_embeddings = 4096, .rms_norm_eps = 1e-5},
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, phi3_kind()); },
    .sharding_plan = decoder_plan(phi3_kind(), gated_mlp_plan()),
    .read_config = read_phi3,
    .write_config = write_phi3,
    .stored_tensors = phi3_tensors,
    .gguf = phi3_gguf(),
});

}  // namespace
}  // namespace phalanx::model
