#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "model/transformer_config.h"

namespace phalanx::model {

/// Angles of one rotary embedding: positions times frequencies f_i = theta^(-2i/d), i < d/2, which
/// `rope_scaling` changes (w = 2 pi / f, n = original_max_position_embeddings):
///
///     linear   f / factor
///     dynamic  in a sample of L > m = max_position_embeddings tokens (NTK-aware): theta becomes
///              theta (factor L / m - factor + 1)^(d / (d - 2)). While a sample is generated, L is what it
///              has so far; keys in a cache keep their angles, as in transformers.
///     yarn     (Peng et al. 2023, arXiv:2309.00071) f (r / factor + 1 - r) with the ramp r from 0 to 1
///     between
///              the dimensions that turn beta_fast and beta_slow times in n tokens; cos and sin are
///              multiplied by attention_factor, unless set 0.1 ln(factor) + 1 (or the ratio of that with the
///              two mscales)
///     llama3   w < n / high: f        w > n / low: f / factor
///              else s = (n / w - low) / (high - low), f ((1 - s) / factor + s)
///
/// The values are those of transformers, which computes them in fp32.
class RotaryTable {
 public:
  RotaryTable(int64_t head_dim, int64_t max_position_embeddings, double theta,
              const std::optional<RopeScaling>& scaling);

  /// cos and sin of every row, [N, d/2] (ops::rope_rows). @param cu_seqlens  the samples of the rows.
  std::pair<at::Tensor, at::Tensor> rows(const at::Tensor& position_ids,
                                         const std::vector<int32_t>& cu_seqlens, at::ScalarType dtype) const;

  const at::Tensor& frequencies() const { return frequencies_; }  ///< fp64 [d/2] in host memory

 private:
  at::Tensor dynamic_frequencies(int64_t length) const;

  int64_t head_dim_, max_position_embeddings_;
  double theta_, dynamic_factor_, attention_factor_;  // dynamic_factor 0: the length does not matter
  at::Tensor frequencies_;
};

/// What yarn multiplies cos and sin by.
double yarn_attention_factor(const RopeScaling& scaling);

/// What each f was divided by, [d/2]: the `rope_freqs.weight` of a GGUF file. Empty without scaling of kind
/// llama3.
std::vector<float> rope_divisors(const TransformerConfig& config);

}  // namespace phalanx::model
