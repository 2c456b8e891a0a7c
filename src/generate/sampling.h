#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace phalanx::generate {

/// How the next token is chosen. The steps, in this order: repetition penalty, temperature, top_k, top_p,
/// min_p, draw.
struct SamplingOptions {
  double temperature = 0.0;  ///< 0: the most likely token (lowest id among equals)
  int64_t top_k = 0;         ///< only the k most likely; 0: all
  double top_p = 1.0;        ///< only the fewest whose probabilities reach p together
  double min_p = 0.0;        ///< only those with at least min_p times the highest probability
  double repetition_penalty =
      1.0;  ///< logits of seen tokens are divided by it where positive, multiplied where negative
  uint64_t seed = 0;

  /// @throws core::Error (kBadConfig) naming the option, its value and its range.
  void validate() const;
};

/// Which sample of which prompt of which step draws: with the seed and the position the whole name of a
/// random number, so that a token does not depend on what else is in the batch, on the number of threads or
/// on ranks.
struct SampleKey {
  uint64_t step = 0, prompt = 0, sample = 0;
};

/// @param logits   [V] fp32; changed in place.
/// @param history  ids seen so far (prompt and generated), for the repetition penalty; their number is the
/// position.
int32_t sample_token(std::span<float> logits, std::span<const int32_t> history,
                     const SamplingOptions& options, const SampleKey& key);

}  // namespace phalanx::generate
