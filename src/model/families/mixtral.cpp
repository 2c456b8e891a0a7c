// Everything that the framework knows about the Mixtral family: Llama's decoder with experts in place of each
// feed-forward layer.
#include <nlohmann/json.hpp>

#include "formats/mixtral_weights.h"
#include "model/config_json.h"
#include "model/decoder.h"
#include "model/moe.h"
#include "model/moe_config.h"
#include "model/moe_lm.h"

namespace phalanx::model {
namespace {

const FeedForwardKind kExperts = {"block_sparse_moe",
                                  [](const TransformerConfig& c, int64_t) -> std::shared_ptr<FeedForward> {
                                    return std::make_shared<SparseMoe>(c, Experts::Names{"w1", "w3", "w2"});
                                  }};

// What transformers' MixtralConfig has for absent keys.
const TransformerConfig kDefaults = {.num_key_value_heads = 8,
                                     .max_position_embeddings = 131072,
                                     .rms_norm_eps = 1e-5,
                                     .rope_theta = 1e6,
                                     .num_local_experts = 8,
                                     .num_experts_per_tok = 2,
                                     .output_router_logits = false,
                                     .router_aux_loss_coef = 0.001};

void read_mixtral(const formats::HfConfig& file, TransformerConfig& c) {
  read_experts(file, c);
  c.sliding_window = read_window(file, 0);
}

void write_mixtral(const TransformerConfig& c, nlohmann::json& file) {
  write_experts(c, file);
  file["router_jitter_noise"] = 0.0;
  file["sliding_window"] = c.sliding_window > 0 ? nlohmann::json(c.sliding_window) : nlohmann::json(nullptr);
}

bool has_experts(const formats::GgufMetadata& metadata) {
  return metadata.find_integer("llama.expert_count").value_or(0) != 0;
}

GgufArchitecture mixtral_gguf() {
  return {.name = "llama",
          .modules = join({gguf_ends(), gguf_pre_norms(), gguf_paired_attention(),
                           gguf_experts("model.layers.*.block_sparse_moe", "w1", "w3", "w2")}),
          .rope_types = {"linear", "yarn", "llama3"},
          .is_of_family = has_experts,
          .read_keys = read_gguf_experts,
          .write_keys = write_gguf_experts};
}

[[maybe_unused]] const bool mixtral_registered = register_family({
    .name = "mixtral",
    .architecture = "MixtralForCausalLM",
    .defaults = kDefaults,
    .build =
        [](const TransformerConfig& c) {
          return std::make_shared<MoeLm>(c, DecoderKind{.feed_forward = kExperts});
        },
    .sharding_plan = {{"model.embed_tokens", Shard::kVocab},
                      {"model.layers.*.input_layernorm", Shard::kEnter},
                      {"model.layers.*.self_attn.{q,k,v}_proj", Shard::kColumn, ShardUnit::kHead},
                      {"model.layers.*.self_attn.o_proj", Shard::kRow, ShardUnit::kHead},
                      {"model.layers.*.post_attention_layernorm", Shard::kEnter},
                      // Over expert ranks whole experts, over tensor ranks each of their matrices.
                      {"model.layers.*.block_sparse_moe.experts.*", Shard::kExpert},
                      {"model.layers.*.block_sparse_moe.experts.*.{w1,w3}", Shard::kColumn},
                      {"model.layers.*.block_sparse_moe.experts.*.w2", Shard::kRowPart},
                      {"model.layers.*.block_sparse_moe.gate", Shard::kShared},
                      {"model.layers.*.block_sparse_moe", Shard::kLeave},
                      {"model.norm", Shard::kEnter},
                      {"lm_head", Shard::kVocab}},
    .read_config = read_mixtral,
    .write_config = write_mixtral,
    .rename_weights = [](auto file) { return formats::expert_weights(std::move(file)); },
    .gguf = mixtral_gguf(),
});

}  // namespace
}  // namespace phalanx::model
