#include "model/rotary.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/rope.h"

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

// theta^(2i/d). The exponent is rounded to fp32 first, as the reference does it: the last bit shows at long
// positions.
float period(double theta, int64_t i, int64_t head_dim) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  return static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
}

float plain_frequency(double theta, int64_t i, int64_t head_dim) {
  return 1.0F / period(theta, i, head_dim);
}

/// Between which dimensions yarn goes from unscaled to scaled frequencies.
struct YarnRange {
  double low, high;
};

YarnRange yarn_range(const RopeScaling& s, double theta, int64_t head_dim) {
  const auto dimension = [&](double turns) {
    const double n = static_cast<double>(s.original_max_position_embeddings);
    return static_cast<double>(head_dim) * std::log(n / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension(s.beta_fast.value_or(32)), high = dimension(s.beta_slow.value_or(1));
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  return {low, low == high ? high + 0.001 : high};
}

float yarn_frequency(const RopeScaling& s, const YarnRange& range, float turn, int64_t i) {
  const float ramp = std::clamp(
      (static_cast<float>(i) - static_cast<float>(range.low)) / static_cast<float>(range.high - range.low),
      0.0F, 1.0F);
  const float unscaled = 1.0F / turn, scaled = 1.0F / (static_cast<float>(s.factor) * turn);
  const float keep = 1.0F - ramp;
  return scaled * (1.0F - keep) + unscaled * keep;
}

template <class Value>
at::Tensor table(int64_t head_dim, const Value& value) {
  at::Tensor frequencies = at::empty({head_dim / 2}, at::kDouble);
  for (int64_t i = 0; i < head_dim / 2; ++i) frequencies.data_ptr<double>()[i] = value(i);
  return frequencies;
}

at::Tensor frequencies_of(int64_t head_dim, double theta, const std::optional<RopeScaling>& scaling) {
  const auto plain = [&](int64_t i) { return plain_frequency(theta, i, head_dim); };
  if (!scaling || scaling->rope_type == "dynamic") return table(head_dim, plain);
  const RopeScaling& s = *scaling;
  if (s.rope_type == "linear")
    return table(head_dim, [&](int64_t i) { return plain(i) / static_cast<float>(s.factor); });
  if (s.rope_type == "llama3")
    return table(head_dim, [&](int64_t i) { return llama3_frequency(plain(i), s); });
  TORCH_INTERNAL_ASSERT(s.rope_type == "yarn", s.rope_type);
  const YarnRange range = yarn_range(s, theta, head_dim);
  return table(head_dim, [&](int64_t i) { return yarn_frequency(s, range, period(theta, i, head_dim), i); });
}

bool is_of_type(const std::optional<RopeScaling>& scaling, const char* type) {
  return scaling && scaling->rope_type == type;
}

}  // namespace

double yarn_attention_factor(const RopeScaling& s) {
  const auto of = [&](double mscale) {
    return s.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(s.factor) + 1.0;
  };
  if (s.attention_factor) return *s.attention_factor;
  const double mscale = s.mscale.value_or(0), all = s.mscale_all_dim.value_or(0);
  return mscale != 0 && all != 0 ? of(mscale) / of(all) : of(1);
}

RotaryTable::RotaryTable(int64_t head_dim, int64_t max_position_embeddings, double theta,
                         const std::optional<RopeScaling>& scaling)
    : head_dim_(head_dim),
      max_position_embeddings_(max_position_embeddings),
      theta_(theta),
      dynamic_factor_(is_of_type(scaling, "dynamic") ? scaling->factor : 0),
      attention_factor_(is_of_type(scaling, "yarn") ? yarn_attention_factor(*scaling) : 1),
      frequencies_(frequencies_of(head_dim, theta, scaling)) {}

at::Tensor RotaryTable::dynamic_frequencies(int64_t length) const {
  if (length <= max_position_embeddings_) return frequencies_;
  const double d = static_cast<double>(head_dim_),
               ratio = static_cast<double>(length) / static_cast<double>(max_position_embeddings_);
  const double theta = theta_ * std::pow(dynamic_factor_ * ratio - (dynamic_factor_ - 1), d / (d - 2));
  return frequencies_of(head_dim_, theta, {});
}

std::pair<at::Tensor, at::Tensor> RotaryTable::rows(const at::Tensor& position_ids,
                                                    const std::vector<int32_t>& cu_seqlens,
                                                    at::ScalarType dtype) const {
  const auto rows_with = [&](const at::Tensor& positions, const at::Tensor& frequencies) {
    return ops::rope_rows(positions, frequencies.to(positions.device()), dtype, attention_factor_);
  };
  if (dynamic_factor_ > 0) {
    std::vector<at::Tensor> cos, sin;
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      if (cu_seqlens[s] == cu_seqlens[s + 1]) continue;
      const at::Tensor positions = position_ids.slice(0, cu_seqlens[s], cu_seqlens[s + 1]);
      const auto part = rows_with(positions, dynamic_frequencies(positions.max().item<int64_t>() + 1));
      cos.push_back(part.first);
      sin.push_back(part.second);
    }
    return {at::cat(cos), at::cat(sin)};
  }
  return rows_with(position_ids, frequencies_);
}

std::vector<float> rope_divisors(const TransformerConfig& config) {
  std::vector<float> divisors;
  if (!is_of_type(config.rope_scaling, "llama3")) return divisors;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const float f = plain_frequency(config.rope_theta, i, config.head_dim);
    divisors.push_back(static_cast<float>(1 / llama3_factor(f, *config.rope_scaling)));
  }
  return divisors;
}

}  // namespace phalanx::model
