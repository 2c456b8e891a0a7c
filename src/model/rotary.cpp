#include "model/rotary.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <numbers>

namespace phalanx::model {
namespace {

/// llama3 scaling of frequency f, in fp32 step by step as the reference computes it.
float llama3_frequency(float f, const RopeScaling& s) {
  const auto factor = static_cast<float>(s.factor), low = static_cast<float>(s.low_freq_factor);
  const auto context = static_cast<float>(s.original_max_position_embeddings);
  const float wavelength = 1.0F / f * static_cast<float>(2 * std::numbers::pi);
  if (wavelength < static_cast<float>(static_cast<double>(context) / s.high_freq_factor)) return f;
  if (wavelength > static_cast<float>(static_cast<double>(context) / s.low_freq_factor)) return f / factor;
  const float smooth =
      (1.0F / wavelength * context - low) / static_cast<float>(s.high_freq_factor - s.low_freq_factor);
  return (1.0F - smooth) * f / factor + smooth * f;
}

/// The same as a factor, for GGUF's divisors.
double llama3_factor(double f, const RopeScaling& s) {
  const double wavelength = 2 * std::numbers::pi / f;
  const double n = static_cast<double>(s.original_max_position_embeddings);
  if (wavelength < n / s.high_freq_factor) return 1;
  if (wavelength > n / s.low_freq_factor) return 1 / s.factor;
  const double smooth = (n / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) / s.factor + smooth;
}

float plain_frequency(const TransformerConfig& config, int64_t i) {
  // The exponent is rounded to fp32 first, as the reference does it: the last bit of f shows at long
  // positions.
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
  return 1.0F / static_cast<float>(std::pow(config.rope_theta, static_cast<double>(exponent)));
}

}  // namespace

at::Tensor inverse_frequencies(const TransformerConfig& config) {
  const int64_t half = config.head_dim / 2;
  at::Tensor frequencies = at::empty({half}, at::kDouble);
  double* out = frequencies.data_ptr<double>();
  for (int64_t i = 0; i < half; ++i) {
    const float f = plain_frequency(config, i);
    out[i] = config.rope_scaling ? llama3_frequency(f, *config.rope_scaling) : f;
  }
  return frequencies;
}

std::vector<float> rope_divisors(const TransformerConfig& config) {
  std::vector<float> divisors;
  if (!config.rope_scaling) return divisors;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    divisors.push_back(
        static_cast<float>(1 / llama3_factor(plain_frequency(config, i), *config.rope_scaling)));
  }
  return divisors;
}

}  // namespace phalanx::model
