#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::ops {

/// kSilu: x sigmoid(x). kGelu: x Phi(x) (Hendrycks & Gimpel 2016, arXiv:1606.08415). kGeluTanh: its
/// approximation 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
enum class Activation { kSilu, kGelu, kGeluTanh };

/// Element by element; any shape.
at::Tensor activate(const at::Tensor& x, Activation activation);

/// activation(gate) * up, [N, f] each: swiglu() for kSilu; the others save gate, activation(gate) and up.
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation);

}  // namespace phalanx::ops
