#include "ops/row_scale.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/grad_sink.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor factors(const at::Tensor& magnitude, const at::Tensor& norms) {
  return magnitude.to(norms.scalar_type()) / norms;
}

struct RowScale : torch::autograd::Function<RowScale> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& z, const at::Tensor& magnitude,
                            const at::Tensor& norms) {
    ctx->save_for_backward({z, magnitude, norms});
    return (z * factors(magnitude, norms)).to(z.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &z = saved[0], &magnitude = saved[1], &norms = saved[2], &dy = grads[0];
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = (dy * factors(magnitude, norms)).to(z.scalar_type());
    if (ctx->needs_input_grad(1))
      out[1] = deliver_gradient(magnitude, (dy.to(norms.scalar_type()) * z).sum(0).div_(norms));
    return out;
  }
};

}  // namespace

at::Tensor row_scale(const at::Tensor& z, const at::Tensor& magnitude, const at::Tensor& norms) {
  expect_gradient(magnitude);
  return RowScale::apply(z, magnitude, norms);
}

}  // namespace phalanx::ops
