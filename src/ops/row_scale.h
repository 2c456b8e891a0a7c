#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::ops {

/// y = z diag(magnitude / norms): feature i of every row is scaled by magnitude[i] / norms[i]. z [N, out],
/// magnitude [out] of one dtype, norms [out] in fp32 (fp64 for fp64), not differentiated. Saves z. The
/// gradient of the magnitude is summed in the dtype of `norms` and goes into its GradSink where it has one.
at::Tensor row_scale(const at::Tensor& z, const at::Tensor& magnitude, const at::Tensor& norms);

}  // namespace phalanx::ops
