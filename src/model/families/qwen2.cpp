// Everything that the framework knows about the Qwen 2 and 2.5 family: Llama's decoder with biases on
// queries, keys and values, and, where the config asks for it, a sliding window in the upper layers.
#include <nlohmann/json.hpp>

#include "model/config_json.h"
#include "model/decoder.h"
#include "model/qwen_windows.h"

namespace phalanx::model {
namespace {

DecoderKind qwen2_kind() {
  return {.feed_forward = gated_mlp(), .has_output_bias = false};
}

GgufArchitecture qwen2_gguf() {
  return {.name = "qwen2",
          .modules = join({gguf_ends(), gguf_pre_norms(), gguf_attention(), gguf_gated_mlp()}),
          .has_biases = true};
}

[[maybe_unused]] const bool qwen2_registered = register_family({
    .name = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    // What transformers' Qwen2Config has for absent keys; attention_bias is no key of its files.
    .defaults = {.num_key_value_heads = 32, .max_position_embeddings = 32768, .attention_bias = true},
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, qwen2_kind()); },
    .sharding_plan = decoder_plan(qwen2_kind(), gated_mlp_plan()),
    .read_config = read_qwen_windows,
    .write_config = write_qwen_windows,
    .gguf = qwen2_gguf(),
});

}  // namespace
}  // namespace phalanx::model
