// Everything that the framework knows about the Qwen 3 MoE family: Qwen 3's decoder with experts in place of
// the feed-forward part of most layers.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "formats/mixtral_weights.h"
#include "model/config_json.h"
#include "model/decoder.h"
#include "model/moe.h"
#include "model/moe_config.h"
#include "model/moe_lm.h"

namespace phalanx::model {
namespace {

DecoderKind qwen3_moe_kind() {
  return {.feed_forward =
              {"mlp",
               [](const TransformerConfig& c, int64_t layer) -> std::shared_ptr<FeedForward> {
                 if (!c.is_sparse(layer)) return gated_mlp().make(c, layer);
                 return std::make_shared<SparseMoe>(c, Experts::Names{"gate_proj", "up_proj", "down_proj"});
               }},
          .query_key_norm = QueryKeyNorm::kPerHead};
}

std::vector<ShardRule> qwen3_moe_plan() {
  std::vector<ShardRule> feed_forward = gated_mlp_plan();  // of layers without experts
  for (const ShardRule& rule :
       {ShardRule{"model.layers.*.mlp.experts.*", Shard::kExpert},
        ShardRule{"model.layers.*.mlp.experts.*.{gate,up}_proj", Shard::kColumn},
        ShardRule{"model.layers.*.mlp.experts.*.down_proj", Shard::kRowPart},
        ShardRule{"model.layers.*.mlp.gate", Shard::kShared}, ShardRule{"model.layers.*.mlp", Shard::kLeave}})
    feed_forward.push_back(rule);
  return decoder_plan(qwen3_moe_kind(), feed_forward);
}

void read_qwen3_moe(const formats::HfConfig& file, TransformerConfig& c) {
  constexpr int64_t kMax = int64_t{1} << 31, kWindow = 4096;
  c.attention_bias = file.find_boolean("attention_bias").value_or(false);
  read_experts(file, c);
  c.norm_topk_prob = file.find_boolean("norm_topk_prob").value_or(c.norm_topk_prob);
  c.moe_intermediate_size =
      file.find_integer("moe_intermediate_size", 1, kMax).value_or(c.moe_intermediate_size);
  c.decoder_sparse_step = file.find_integer("decoder_sparse_step", 1, kMax).value_or(c.decoder_sparse_step);
  c.mlp_only_layers = file.integers("mlp_only_layers", 0, kMax);
  file.find_integer("max_window_layers", 0, kMax);  // read by nobody: a window is one of all layers
  const int64_t window = read_window(file, kWindow);
  c.sliding_window = file.find_boolean("use_sliding_window").value_or(false) ? window : 0;
}

void write_qwen3_moe(const TransformerConfig& c, nlohmann::json& file) {
  file["attention_bias"] = c.attention_bias;
  write_experts(c, file);
  file["num_experts"] = c.num_local_experts;  // transformers 4 has this name only
  file["norm_topk_prob"] = c.norm_topk_prob;
  file["moe_intermediate_size"] = c.expert_size();
  file["decoder_sparse_step"] = c.decoder_sparse_step;
  file["mlp_only_layers"] = c.mlp_only_layers;
  file["use_sliding_window"] = c.sliding_window > 0;
  file["sliding_window"] = c.sliding_window > 0 ? nlohmann::json(c.sliding_window) : nlohmann::json(nullptr);
}

void check_qwen3_moe(const TransformerConfig& c) {
  if (!c.norm_topk_prob)
    refuse_gguf(c, "norm_topk_prob is false, but engines normalise the weights of a token's experts");
  for (int64_t i = 0; i < c.num_hidden_layers; ++i)
    if (!c.is_sparse(i))
      refuse_gguf(c, fmt::format("layer {} has no experts, but engines want them in all", i));
}

void read_qwen3_moe_keys(const formats::GgufKeys& keys, TransformerConfig& c) {
  read_gguf_experts(keys, c);
  c.norm_topk_prob = true;  // as engines compute it
}

GgufArchitecture qwen3_moe_gguf() {
  return {.name = "qwen3moe",
          .modules = join({gguf_ends(), gguf_pre_norms(), gguf_attention(), gguf_query_key_norms(),
                           gguf_experts("model.layers.*.mlp", "gate_proj", "up_proj", "down_proj")}),
          .check = check_qwen3_moe,
          .read_keys = read_qwen3_moe_keys,
          .write_keys = write_gguf_experts};
}

[[maybe_unused]] const bool qwen3_moe_registered = register_family({
    .name = "qwen3_moe",
    .architecture = "Qwen3MoeForCausalLM",
    // What transformers' Qwen3MoeConfig has for absent keys.
    .defaults = {.num_key_value_heads = 4,
                 .max_position_embeddings = 32768,
                 .num_local_experts = 128,
                 .num_experts_per_tok = 8,
                 .moe_intermediate_size = 768,
                 .norm_topk_prob = false,
                 .router_aux_loss_coef = 0.001},
    .build = [](const TransformerConfig& c) { return std::make_shared<MoeLm>(c, qwen3_moe_kind()); },
    .sharding_plan = qwen3_moe_plan(),
    .read_config = read_qwen3_moe,
    .write_config = write_qwen3_moe,
    .rename_weights =
        [](auto file) {
          return formats::expert_weights(std::move(file), {".mlp.", "gate_proj", "up_proj", "down_proj"});
        },
    .gguf = qwen3_moe_gguf(),
});

}  // namespace
}  // namespace phalanx::model
