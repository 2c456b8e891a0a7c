#include "formats/llama_names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numbers>

#include "core/error.h"

namespace phalanx::formats {
namespace {

struct NamePair {
  std::string_view gguf, hf;
};

constexpr std::array<NamePair, 3> kModules = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
}};

constexpr std::array<NamePair, 9> kLayerModules = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

/// "PREFIX12.attn_q.weight" taken apart; without a layer the module is the whole of what stands before the
/// last dot.
struct Parts {
  std::optional<int64_t> layer;
  std::string_view module, suffix;
};

std::optional<Parts> take_apart(std::string_view name, std::string_view layer_prefix) {
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return std::nullopt;
  Parts parts{std::nullopt, name.substr(0, dot), name.substr(dot + 1)};
  if (parts.suffix != "weight" && parts.suffix != "bias") return std::nullopt;
  if (!parts.module.starts_with(layer_prefix)) return parts;
  const std::string_view rest = parts.module.substr(layer_prefix.size());
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  const size_t digits = size_t(end - rest.data());
  const bool canonical = digits > 0 && (digits == 1 || rest[0] != '0') && rest[0] != '-';
  if (error != std::errc() || !canonical || digits == rest.size() || rest[digits] != '.') return std::nullopt;
  parts.layer = layer;
  parts.module = rest.substr(digits + 1);
  return parts;
}

std::optional<std::string> translate(std::string_view name, std::string_view NamePair::*from,
                                     std::string_view NamePair::*to, std::string_view from_prefix,
                                     std::string_view to_prefix) {
  const std::optional<Parts> parts = take_apart(name, from_prefix);
  if (!parts) return std::nullopt;
  const std::span<const NamePair> table = parts->layer ? std::span<const NamePair>(kLayerModules) : kModules;
  const auto found = std::ranges::find(table, parts->module, from);
  if (found == table.end()) return std::nullopt;
  const std::string prefix = parts->layer ? fmt::format("{}{}.", to_prefix, *parts->layer) : "";
  return fmt::format("{}{}.{}", prefix, (*found).*to, parts->suffix);
}

/// Calls move(gguf_row, hf_row) for all rows.
template <typename Move>
void pair_rows(int64_t num_heads, int64_t head_dim, const Move& move) {
  for (int64_t head = 0; head < num_heads; ++head)
    for (int64_t j = 0; j < head_dim / 2; ++j)
      for (int64_t k = 0; k < 2; ++k)
        move(size_t(head * head_dim + 2 * j + k), size_t(head * head_dim + k * (head_dim / 2) + j));
}

size_t row_bytes_of(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim, size_t out_bytes) {
  const auto num_rows = size_t(num_heads * head_dim);
  if (num_heads < 1 || head_dim < 2 || head_dim % 2 != 0 || rows.size() % num_rows != 0 ||
      rows.size() != out_bytes)
    core::fail(core::ExitCode::kBug, "{} bytes are not the rows of {} heads of an even size {}", rows.size(),
               num_heads, head_dim);
  return rows.size() / num_rows;
}

bool nearly_equal(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(a, b, [](float x, float y) { return std::abs(x - y) <= 1e-4f * std::abs(y); });
}

}  // namespace

std::optional<std::string> hf_name_of_llama(std::string_view gguf_name) {
  return translate(gguf_name, &NamePair::gguf, &NamePair::hf, "blk.", "model.layers.");
}

std::optional<std::string> gguf_name_of_llama(std::string_view hf_name) {
  return translate(hf_name, &NamePair::hf, &NamePair::gguf, "model.layers.", "blk.");
}

LlamaRows rows_of_llama(std::string_view gguf_name) {
  const std::optional<Parts> parts = take_apart(gguf_name, "blk.");
  if (!parts || !parts->layer) return LlamaRows::kAsTheyAre;
  if (parts->module == "attn_q") return LlamaRows::kQueryHeads;
  return parts->module == "attn_k" ? LlamaRows::kKeyHeads : LlamaRows::kAsTheyAre;
}

void rows_to_hf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                std::span<std::byte> out) {
  const size_t bytes = row_bytes_of(rows, num_heads, head_dim, out.size());
  pair_rows(num_heads, head_dim, [&](size_t gguf, size_t hf) {
    std::memcpy(out.data() + hf * bytes, rows.data() + gguf * bytes, bytes);
  });
}

void rows_to_gguf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                  std::span<std::byte> out) {
  const size_t bytes = row_bytes_of(rows, num_heads, head_dim, out.size());
  pair_rows(num_heads, head_dim, [&](size_t gguf, size_t hf) {
    std::memcpy(out.data() + gguf * bytes, rows.data() + hf * bytes, bytes);
  });
}

std::vector<float> llama3_rope_divisors(const Llama3Rope& rope, int64_t head_dim, double rope_theta) {
  const auto context = double(rope.original_max_position_embeddings);
  std::vector<float> divisors;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(rope_theta, -2.0 * double(i) / double(head_dim));
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < context / rope.high_freq_factor) {
      divisors.push_back(1);
    } else if (wavelength > context / rope.low_freq_factor) {
      divisors.push_back(float(rope.factor));
    } else {
      const double smooth =
          (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      divisors.push_back(float(1 / ((1 - smooth) / rope.factor + smooth)));
    }
  }
  return divisors;
}

std::optional<Llama3Rope> infer_llama3_rope(std::span<const float> divisors, double rope_theta,
                                            int64_t context) {
  if (divisors.empty()) return std::nullopt;
  const Llama3Rope candidate{double(std::ranges::max(divisors)), 1, 4, context};
  const auto expected = llama3_rope_divisors(candidate, int64_t(divisors.size()) * 2, rope_theta);
  return nearly_equal(divisors, expected) ? std::optional(candidate) : std::nullopt;
}

}  // namespace phalanx::formats
