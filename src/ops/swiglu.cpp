#include "ops/swiglu.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    const at::ScalarType wide = gate.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return (at::silu(gate.to(wide)) * up.to(wide)).to(gate.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::ScalarType type = saved[0].scalar_type(), wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor g = saved[0].to(wide), u = saved[1].to(wide), dy = grads[0].to(wide);
    const at::Tensor s = at::sigmoid(g);
    return {(dy * u * s * (1 + g * (1 - s))).to(type), (dy * g * s).to(type)};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return SwiGlu::apply(gate, up);
}

}  // namespace phalanx::ops
