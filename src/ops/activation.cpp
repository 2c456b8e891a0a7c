#include "ops/activation.h"

#include <ATen/Functions.h>

#include "ops/swiglu.h"

namespace phalanx::ops {

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x, "none");
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
  }
  TORCH_INTERNAL_ASSERT(false);
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  return activation == Activation::kSilu ? swiglu(gate, up) : activate(gate, activation) * up;
}

}  // namespace phalanx::ops
