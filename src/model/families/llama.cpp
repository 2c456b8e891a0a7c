// Everything that the framework knows about the Llama family: a table of what its decoder is made of, and one
// of how it is cut.
#include <nlohmann/json.hpp>

#include "formats/hf_config.h"
#include "model/decoder.h"

namespace phalanx::model {
namespace {

void read_biases(const formats::HfConfig& file, TransformerConfig& c) {
  c.attention_bias = file.find_boolean("attention_bias").value_or(false);
  c.mlp_bias = file.find_boolean("mlp_bias").value_or(false);
}

void write_biases(const TransformerConfig& c, nlohmann::json& file) {
  file["attention_bias"] = c.attention_bias;
  file["mlp_bias"] = c.mlp_bias;
}

bool has_no_experts(const formats::GgufMetadata& metadata) {
  return metadata.find_integer("llama.expert_count").value_or(0) == 0;
}

GgufArchitecture llama_gguf() {
  return {.name = "llama",
          .modules = join({gguf_ends(), gguf_pre_norms(), gguf_paired_attention(), gguf_gated_mlp()}),
          .rope_types = {"linear", "yarn", "llama3"},
          .has_biases = true,
          .is_of_family = has_no_experts};
}

[[maybe_unused]] const bool llama_registered = register_family({
    .name = "llama",
    .architecture = "LlamaForCausalLM",
    .build =
        [](const TransformerConfig& c) {
          return std::make_shared<DecoderLm>(c, DecoderKind{.feed_forward = gated_mlp()});
        },
    .sharding_plan = {{"model.embed_tokens", Shard::kVocab},
                      {"model.layers.*.input_layernorm", Shard::kEnter},
                      {"model.layers.*.self_attn.{q,k,v}_proj", Shard::kColumn, ShardUnit::kHead},
                      {"model.layers.*.self_attn.o_proj", Shard::kRow, ShardUnit::kHead},
                      {"model.layers.*.post_attention_layernorm", Shard::kEnter},
                      {"model.layers.*.mlp.{gate,up}_proj", Shard::kColumn},
                      {"model.layers.*.mlp.down_proj", Shard::kRow},
                      {"model.norm", Shard::kEnter},
                      {"lm_head", Shard::kVocab}},
    .read_config = read_biases,
    .write_config = write_biases,
    .gguf = llama_gguf(),
});

}  // namespace
}  // namespace phalanx::model
