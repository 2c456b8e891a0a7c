#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

// GGUF has no keys for Llama 3's rotary scaling: it stores what each inverse frequency is divided by, as the
// tensor rope_freqs.weight [head_dim / 2].
namespace phalanx::formats {

struct Llama3Rope {
  double factor, low_freq_factor, high_freq_factor;
  int64_t original_max_position_embeddings;
};

std::vector<float> llama3_rope_divisors(const Llama3Rope& rope, int64_t head_dim, double rope_theta);
/// Finds the parameters again, with the frequency factors 1 and 4 that the Llama 3 family uses; nothing if
/// they do not fit.
/// @param context  original_max_position_embeddings
std::optional<Llama3Rope> infer_llama3_rope(std::span<const float> divisors, double rope_theta,
                                            int64_t context = 8192);

}  // namespace phalanx::formats
