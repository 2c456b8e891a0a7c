// Everything that the framework knows about the Mistral family: Llama's decoder, all of whose layers attend
// to the last sliding_window tokens.
#include <nlohmann/json.hpp>

#include "model/config_json.h"
#include "model/decoder.h"

namespace phalanx::model {
namespace {

DecoderKind mistral_kind() {
  return {.feed_forward = gated_mlp()};
}

void read_mistral(const formats::HfConfig& file, TransformerConfig& c) {
  c.sliding_window = read_window(file, c.sliding_window);
}

void write_mistral(const TransformerConfig& c, nlohmann::json& file) {
  file["sliding_window"] = c.sliding_window > 0 ? nlohmann::json(c.sliding_window) : nlohmann::json(nullptr);
}

// To engines a Llama, and read as one.
GgufArchitecture mistral_gguf() {
  return {.name = "llama",
          .modules = join({gguf_ends(), gguf_pre_norms(), gguf_paired_attention(), gguf_gated_mlp()}),
          .rope_types = {"linear", "yarn", "llama3"},
          .is_of_family = [](const formats::GgufMetadata&) { return false; }};
}

[[maybe_unused]] const bool mistral_registered = register_family({
    .name = "mistral",
    .architecture = "MistralForCausalLM",
    // What transformers' MistralConfig has for absent keys.
    .defaults = {.num_key_value_heads = 8, .max_position_embeddings = 131072, .sliding_window = 4096},
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, mistral_kind()); },
    .sharding_plan = decoder_plan(mistral_kind(), gated_mlp_plan()),
    .read_config = read_mistral,
    .write_config = write_mistral,
    .gguf = mistral_gguf(),
});

}  // namespace
}  // namespace phalanx::model
