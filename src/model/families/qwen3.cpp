// Everything that the framework knows about the Qwen 3 family: Qwen 2's windows, a norm of each head's
// queries and keys in place of the biases, and heads whose size does not follow from the width.
#include <nlohmann/json.hpp>

#include "model/config_json.h"
#include "model/decoder.h"
#include "model/qwen_windows.h"

namespace phalanx::model {
namespace {

DecoderKind qwen3_kind() {
  return {.feed_forward = gated_mlp(), .query_key_norm = QueryKeyNorm::kPerHead};
}

void read_qwen3(const formats::HfConfig& file, TransformerConfig& c) {
  c.attention_bias = file.find_boolean("attention_bias").value_or(false);
  read_qwen_windows(file, c);
}

void write_qwen3(const TransformerConfig& c, nlohmann::json& file) {
  file["attention_bias"] = c.attention_bias;
  write_qwen_windows(c, file);
}

GgufArchitecture qwen3_gguf() {
  return {.name = "qwen3",
          .modules = join(
              {gguf_ends(), gguf_pre_norms(), gguf_attention(), gguf_query_key_norms(), gguf_gated_mlp()})};
}

[[maybe_unused]] const bool qwen3_registered = register_family({
    .name = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    // What transformers' Qwen3Config has for absent keys.
    .defaults = {.num_key_value_heads = 32, .head_dim = 128, .max_position_embeddings = 32768},
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, qwen3_kind()); },
    .sharding_plan = decoder_plan(qwen3_kind(), gated_mlp_plan()),
    .read_config = read_qwen3,
    .write_config = write_qwen3,
    .gguf = qwen3_gguf(),
});

}  // namespace
}  // namespace phalanx::model
