#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Tensor names and row order of the GGUF architecture "llama" against Hugging Face's.
namespace phalanx::formats {

/// "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"; nothing for a name that llama does not
/// have.
std::optional<std::string> hf_name_of_llama(std::string_view gguf_name);
/// The other way round.
std::optional<std::string> gguf_name_of_llama(std::string_view hf_name);

/// Rows of q and k are stored in another order: GGUF pairs neighbouring rows of a head for the rotation,
/// Hugging Face pairs row j with row j + head_dim / 2. Weights and biases alike; rows are moved whole, so any
/// element type will do.
enum class LlamaRows { kAsTheyAre, kQueryHeads, kKeyHeads };
LlamaRows rows_of_llama(std::string_view gguf_name);

/// Row h * d + 2 j + k of GGUF is row h * d + k * d / 2 + j of Hugging Face, d = head_dim (even).
/// `rows` and `out` have num_heads * head_dim rows of row_bytes and do not overlap.
void rows_to_hf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                std::span<std::byte> out);
void rows_to_gguf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                  std::span<std::byte> out);

/// Llama 3's rotary scaling.
struct Llama3Rope {
  double factor, low_freq_factor, high_freq_factor;
  int64_t original_max_position_embeddings;
};

/// What GGUF stores of it, the tensor rope_freqs.weight [head_dim / 2]: the divisor of each inverse
/// frequency.
std::vector<float> llama3_rope_divisors(const Llama3Rope& rope, int64_t head_dim, double rope_theta);
/// Finds the parameters again, with the frequency factors 1 and 4 that the Llama 3 family uses; nothing if
/// they do not fit.
/// @param context  original_max_position_embeddings
std::optional<Llama3Rope> infer_llama3_rope(std::span<const float> divisors, double rope_theta,
                                            int64_t context = 8192);

}  // namespace phalanx::formats
