#include "formats/gguf_mix.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "core/error.h"

namespace phalanx::formats {
namespace {

using core::DType;
using enum core::DType;

constexpr GgufMix kMixes[] = {
    {"f32", 0, kF32},    {"f16", 1, kF16},      {"bf16", 32, kBF16},   {"q8_0", 7, kQ8_0},
    {"q6_k", 18, kQ6_K}, {"q5_k_m", 17, kQ5_K}, {"q5_k_s", 16, kQ5_K}, {"q5_1", 9, kQ5_1},
    {"q5_0", 8, kQ5_0},  {"q4_k_m", 15, kQ4_K}, {"q4_k_s", 14, kQ4_K}, {"q4_1", 3, kQ4_1},
    {"q4_0", 2, kQ4_0},
};

// Sets of layers, and of models, that a rule speaks of.
using Layers = bool (*)(int64_t layer, int64_t count);
using Models = bool (*)(const GgufModel& model);

bool every_layer(int64_t, int64_t) {
  return true;
}
bool first_four(int64_t layer, int64_t) {
  return layer < 4;
}
bool first_eighth(int64_t layer, int64_t count) {
  return layer < count / 8;
}
bool ends_and_every_third(int64_t layer, int64_t count) {  // the ends are an eighth each
  return layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2;
}

bool every_model(const GgufModel&) {
  return true;
}
bool with_importance(const GgufModel& model) {
  return model.has_importance;
}
bool of_eight_experts(const GgufModel& model) {
  return model.num_experts == 8;
}
// Eight query heads share a value head there, so that its matrix is small and much depends on it.
bool of_70b(const GgufModel& model) {
  return model.num_layers == 80 &&
         (model.architecture == "qwen2" ||
          (model.architecture == "llama" && model.num_heads != model.num_key_value_heads));
}

struct Rule {
  std::string_view mix, tensor;
  Layers layers;
  Models models;
  DType dtype;
};

// The first that fits decides. An empty mix stands for every one with a quantised base.
constexpr Rule kRules[] = {
    {"", "attn_v", every_layer, of_eight_experts, kQ8_0},
    {"", "attn_k", every_layer, of_eight_experts, kQ8_0},
    {"q4_k_m", "attn_output", every_layer, of_eight_experts, kQ5_K},
    {"q4_k_s", "attn_output", every_layer, of_eight_experts, kQ5_K},
    {"q4_k_m", "attn_v", ends_and_every_third, every_model, kQ6_K},
    {"q4_k_m", "attn_v", every_layer, of_70b, kQ5_K},
    {"q4_k_m", "ffn_down", ends_and_every_third, every_model, kQ6_K},
    {"q4_k_s", "attn_v", first_four, every_model, kQ5_K},
    {"q4_k_s", "attn_v", every_layer, of_70b, kQ5_K},
    {"q4_k_s", "ffn_down", first_eighth, every_model, kQ5_K},
    {"q5_k_m", "attn_v", ends_and_every_third, every_model, kQ6_K},
    {"q5_k_m", "ffn_down", ends_and_every_third, every_model, kQ6_K},
    {"q4_0", "ffn_down", first_eighth, with_importance, kQ4_1},
    {"q5_0", "ffn_down", first_eighth, with_importance, kQ5_1},
};

struct BlockTensor {
  int64_t layer;
  std::string_view kind;  // "attn_v"; of "blk.3.attn_v.weight"
};

std::optional<BlockTensor> block_tensor(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  BlockTensor tensor{};
  const auto [end, error] = std::from_chars(name.data() + 4, name.data() + name.size(), tensor.layer);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view rest = name.substr(size_t(end - name.data()) + 1);
  tensor.kind = rest.substr(0, rest.find('.'));
  if (tensor.kind == "attn_qkv") tensor.kind = "attn_v";
  if (tensor.kind.starts_with("ffn_down")) tensor.kind = "ffn_down";  // of experts too
  return tensor;
}

bool is_kept_in_f32(std::string_view name, std::span<const int64_t> shape) {
  return shape.size() < 2 || !name.ends_with("weight") || name.ends_with("_norm.weight") ||
         name.ends_with("ffn_gate_inp.weight") || name == "position_embd.weight";
}

DType fitting(DType dtype, int64_t columns) {
  const auto fits = [&](DType type) { return columns % core::block_elements(type) == 0; };
  if (fits(dtype)) return dtype;
  const DType smaller = dtype == kQ4_K ? kQ5_0 : dtype == kQ5_K ? kQ5_1 : kQ8_0;
  return fits(smaller) ? smaller : kF16;
}

DType wanted_dtype(const GgufMix& mix, const GgufModel& model, std::string_view name, int64_t columns) {
  if (name == "output.weight" || (name == "token_embd.weight" && !model.has_output))
    return mix.base == kQ8_0 || columns % core::block_elements(mix.base) != 0 ? kQ8_0 : kQ6_K;
  const std::optional<BlockTensor> tensor = block_tensor(name);
  if (!tensor) return mix.base;
  for (const Rule& rule : kRules) {
    if ((rule.mix.empty() || rule.mix == mix.name) && rule.tensor == tensor->kind &&
        rule.layers(tensor->layer, model.num_layers) && rule.models(model))
      return rule.dtype;
  }
  return mix.base;
}

}  // namespace

std::span<const GgufMix> gguf_mixes() {
  return kMixes;
}

const GgufMix& gguf_mix(std::string_view name) {
  std::string known;
  for (const GgufMix& mix : kMixes) {
    if (mix.name == name) return mix;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", mix.name);
  }
  core::fail(core::ExitCode::kBadConfig, "{} is not a type of GGUF files that can be written; known are {}",
             core::printable(name, 40), known);
}

DType dtype_in_mix(const GgufMix& mix, const GgufModel& model, std::string_view name,
                   std::span<const int64_t> shape) {
  if (is_kept_in_f32(name, shape)) return kF32;
  if (!core::is_quantised(mix.base)) return mix.base;
  return fitting(wanted_dtype(mix, model, name, shape.back()), shape.back());
}

}  // namespace phalanx::formats
