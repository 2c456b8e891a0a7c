#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "model/transformer_config.h"

namespace phalanx::model {

/// f_i = theta^(-2i/d) for i < d/2, fp64 [d/2] in host memory; with `rope_scaling` (llama3) each f is scaled
/// by its wavelength w = 2 pi / f and n = original_max_position_embeddings:
///     w < n / high: f        w > n / low: f / factor
///     else s = (n / w - low) / (high - low), f ((1 - s) / factor + s)
/// The values are those of transformers, which computes them in fp32.
at::Tensor inverse_frequencies(const TransformerConfig& config);

/// What each f was divided by, [d/2]: the `rope_freqs.weight` of a GGUF file. Empty without scaling.
std::vector<float> rope_divisors(const TransformerConfig& config);

}  // namespace phalanx::model
