#include "formats/rope_divisors.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace phalanx::formats {
namespace {

bool nearly_equal(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(a, b, [](float x, float y) { return std::abs(x - y) <= 1e-4f * std::abs(y); });
}

}  // namespace

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
