// Everything that the framework knows about the GPT-2 family: learned positions, LayerNorm and biases
// everywhere, a feed-forward part without a gate. Its files have names of their own, hold every matrix
// transposed, and queries, keys and values as one.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "formats/stored_tensor.h"
#include "model/activation_names.h"
#include "model/config_json.h"
#include "model/decoder.h"

namespace phalanx::model {
namespace {

/// c_proj(activation(c_fc(x)))
class Gpt2Mlp : public FeedForward {
 public:
  explicit Gpt2Mlp(const TransformerConfig& c) : activation_(activation_of(c.hidden_act)) {
    c_fc_ = register_module("c_fc", std::make_shared<Linear>(c.hidden_size, c.intermediate_size, true));
    c_proj_ = register_module("c_proj", std::make_shared<Linear>(c.intermediate_size, c.hidden_size, true));
  }
  Output forward(const at::Tensor& x) const override {
    return {c_proj_->forward(ops::activate(c_fc_->forward(x), activation_))};
  }

 private:
  ops::Activation activation_;
  std::shared_ptr<Linear> c_fc_, c_proj_;
};

DecoderKind gpt2_kind() {
  return {.feed_forward = {"mlp",
                           [](const TransformerConfig& c, int64_t) -> std::shared_ptr<FeedForward> {
                             return std::make_shared<Gpt2Mlp>(c);
                           }},
          .norm = NormKind::kLayer,
          .positions = Positions::kLearned,
          .trains_padding = true};
}

std::vector<formats::StoredTensor> gpt2_tensors(const TransformerConfig& c) {
  std::vector<formats::StoredTensor> stored;
  // The oldest files lack the prefix.
  const auto add = [&](const std::string& name, std::vector<formats::StoredTensor::Part> parts,
                       bool is_transposed) {
    stored.push_back({"transformer." + name, std::move(parts), is_transposed, name});
  };
  const int64_t h = c.hidden_size;
  add("wte.weight", {{"model.embed_tokens.weight", c.vocab_size}}, false);
  add("wpe.weight", {{"model.embed_positions.weight", c.max_position_embeddings}}, false);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string theirs = fmt::format("h.{}.", i), ours = fmt::format("model.layers.{}.", i);
    for (const std::string kind : {".weight", ".bias"}) {
      const bool is_matrix = kind == ".weight";
      add(theirs + "ln_1" + kind, {{ours + "input_layernorm" + kind, h}}, false);
      add(theirs + "attn.c_attn" + kind,
          {{ours + "self_attn.q_proj" + kind, h},
           {ours + "self_attn.k_proj" + kind, h},
           {ours + "self_attn.v_proj" + kind, h}},
          is_matrix);
      add(theirs + "attn.c_proj" + kind, {{ours + "self_attn.o_proj" + kind, h}}, is_matrix);
      add(theirs + "ln_2" + kind, {{ours + "post_attention_layernorm" + kind, h}}, false);
      add(theirs + "mlp.c_fc" + kind, {{ours + "mlp.c_fc" + kind, c.intermediate_size}}, is_matrix);
      add(theirs + "mlp.c_proj" + kind, {{ours + "mlp.c_proj" + kind, h}}, is_matrix);
    }
  }
  for (const std::string kind : {".weight", ".bias"}) add("ln_f" + kind, {{"model.norm" + kind, h}}, false);
  return stored;
}

const std::vector<std::pair<std::string, std::string>> kKeys = {{"n_embd", "hidden_size"},
                                                                {"n_layer", "num_hidden_layers"},
                                                                {"n_head", "num_attention_heads"},
                                                                {"n_positions", "max_position_embeddings"},
                                                                {"n_inner", "intermediate_size"},
                                                                {"activation_function", "hidden_act"},
                                                                {"layer_norm_epsilon", "rms_norm_eps"}};

void to_common_gpt2(nlohmann::json& config) {
  for (const auto& [theirs, ours] : kKeys) {
    if (!config.contains(theirs)) continue;
    config[ours] = config[theirs];
    config.erase(theirs);
  }
  const bool has_inner = config.contains("intermediate_size") && !config["intermediate_size"].is_null();
  if (!has_inner && config.contains("hidden_size") && config["hidden_size"].is_number_integer())
    config["intermediate_size"] = 4 * config["hidden_size"].get<int64_t>();
}

void write_gpt2(const TransformerConfig& c, nlohmann::json& file) {
  for (const auto& [theirs, ours] : kKeys) {
    file[theirs] = file[ours];
    file.erase(ours);
  }
  for (const char* key : {"num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "rope_parameters",
                          "attention_dropout"})
    file.erase(key);
  if (c.intermediate_size == 4 * c.hidden_size) file["n_inner"] = nullptr;
  file["attn_pdrop"] = file["resid_pdrop"] = file["embd_pdrop"] = 0.0;
  file["scale_attn_weights"] = true;
  file["scale_attn_by_inverse_layer_idx"] = false;
}

// As the model's parameters are, not transposed.
GgufArchitecture gpt2_gguf() {
  const std::string layer = "model.layers.*.", attention = layer + "self_attn.";
  return {.name = "gpt2",
          .modules =
              join({gguf_ends(),
                    gguf_pre_norms(),
                    {{"position_embd", {"model.embed_positions"}},
                     {"blk.*.attn_qkv", {attention + "q_proj", attention + "k_proj", attention + "v_proj"}},
                     {"blk.*.attn_output", {attention + "o_proj"}},
                     {"blk.*.ffn_up", {layer + "mlp.c_fc"}},
                     {"blk.*.ffn_down", {layer + "mlp.c_proj"}}}}),
          .epsilon_key = "attention.layer_norm_epsilon",
          .hidden_act = "gelu_new",
          .has_rotary = false,
          .has_biases = true,
          .heads_fill_width = true};
}

[[maybe_unused]] const bool gpt2_registered = register_family({
    .name = "gpt2",
    .architecture = "GPT2LMHeadModel",
    // What transformers' GPT2Config has for absent keys; attention_bias and mlp_bias are no keys of its
    // files.
    .defaults = {.max_position_embeddings = 1024,
                 .rms_norm_eps = 1e-5,
                 .hidden_act = "gelu_new",
                 .tie_word_embeddings = true,
                 .attention_bias = true,
                 .mlp_bias = true},
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, gpt2_kind()); },
    .sharding_plan = decoder_plan(gpt2_kind(), {{"model.layers.*.mlp.c_fc", Shard::kColumn},
                                                {"model.layers.*.mlp.c_proj", Shard::kRow}}),
    .to_common_keys = to_common_gpt2,
    .write_config = write_gpt2,
    .stored_tensors = gpt2_tensors,
    .gguf = gpt2_gguf(),
});

}  // namespace
}  // namespace phalanx::model
