#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::generate {

/// hidden W^T in fp32, [N, V], for a few rows: never rounded to the model's dtype, and every row computed the
/// same way whatever N is. No gradient.
at::Tensor fp32_logits(const at::Tensor& hidden, const at::Tensor& weight);

}  // namespace phalanx::generate
