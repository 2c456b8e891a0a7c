#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::ops {

/// silu(gate) * up, element by element. [N, f] each. Saves gate and up; the product is recomputed by who
/// needs it.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace phalanx::ops
