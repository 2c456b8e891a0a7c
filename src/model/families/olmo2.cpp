// Everything that the framework knows about the OLMo 2 family: Llama's parts with the norms behind attention
// and the feed-forward part, and norms of all queries and of all keys at once.
#include <nlohmann/json.hpp>

#include "model/config_json.h"
#include "model/decoder.h"

namespace phalanx::model {
namespace {

DecoderKind olmo2_kind() {
  return {.feed_forward = gated_mlp(), .norms = kPostNorms, .query_key_norm = QueryKeyNorm::kAllHeads};
}

void read_olmo2(const formats::HfConfig& file, TransformerConfig& c) {
  c.attention_bias = file.find_boolean("attention_bias").value_or(false);
}

void write_olmo2(const TransformerConfig& c, nlohmann::json& file) {
  file["attention_bias"] = c.attention_bias;
}

GgufArchitecture olmo2_gguf() {
  return {.name = "olmo2",
          .modules = join(
              {gguf_ends(), gguf_post_norms(), gguf_attention(), gguf_query_key_norms(), gguf_gated_mlp()}),
          .heads_fill_width = true,
          .tie = GgufTie::kNever};
}

[[maybe_unused]] const bool olmo2_registered = register_family({
    .name = "olmo2",
    .architecture = "Olmo2ForCausalLM",
    // What transformers' Olmo2Config has for absent keys.
    .defaults = {.rms_norm_eps = 1e-5},
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, olmo2_kind()); },
    .sharding_plan = decoder_plan(olmo2_kind(), gated_mlp_plan()),
    .read_config = read_olmo2,
    .write_config = write_olmo2,
    .gguf = olmo2_gguf(),
});

}  // namespace
}  // namespace phalanx::model
