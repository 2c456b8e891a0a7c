#include "ops/norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/grad_sink.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType sum_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

std::pair<at::Tensor, at::Tensor> normalise(const at::Tensor& h, const at::Tensor& weight, double eps) {
  const at::Tensor wide = h.to(sum_type(h));
  const at::Tensor inverse_rms = wide.square().mean(1, true).add_(eps).rsqrt_();  // [N, 1]
  return {(wide * inverse_rms * weight.to(wide.scalar_type())).to(h.scalar_type()), inverse_rms};
}

// dh = r (w dy - h r^2 mean(w dy h)); dw = sum_rows dy h r
std::pair<at::Tensor, at::Tensor> norm_gradients(const at::Tensor& dy, const at::Tensor& h,
                                                 const at::Tensor& weight, const at::Tensor& r) {
  const at::Tensor wide = h.to(sum_type(h)), g = dy.to(wide.scalar_type());
  const at::Tensor wg = g * weight.to(wide.scalar_type());
  const at::Tensor dot = (wg * wide).mean(1, true);
  return {r * (wg - wide * (r * r * dot)), (g * wide * r).sum(0)};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double eps) {
    auto [y, r] = normalise(x, weight, eps);
    ctx->save_for_backward({x, weight, r});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    auto [dx, dw] = norm_gradients(grads[0], saved[0], saved[1], saved[2]);
    variable_list out(3);
    out[0] = dx.to(saved[0].scalar_type());
    if (ctx->needs_input_grad(1)) out[1] = deliver_gradient(saved[1], dw);
    return out;
  }
};

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& residual,
                               const at::Tensor& weight, double eps) {
    const at::Tensor h = x + residual;
    auto [y, r] = normalise(h, weight, eps);
    ctx->save_for_backward({h, weight, r});
    return {y, h};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    auto [dx, dw] = norm_gradients(grads[0], saved[0], saved[1], saved[2]);
    if (grads[1].defined()) dx = dx + grads[1];
    variable_list out(4);
    out[0] = out[1] = dx.to(saved[0].scalar_type());
    if (ctx->needs_input_grad(2)) out[2] = deliver_gradient(saved[1], dw);
    return out;
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  expect_gradient(weight);
  return RmsNorm::apply(x.contiguous(), weight, eps);
}

std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& residual,
                                               const at::Tensor& weight, double eps) {
  expect_gradient(weight);
  const variable_list out = AddRmsNorm::apply(x.contiguous(), residual.contiguous(), weight, eps);
  return {out[0], out[1]};
}

}  // namespace phalanx::ops
