#include "ops/linear.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/deferred_gradients.h"
#include "ops/grad_sink.h"
#include "ops/matmul.h"
#include "ops/recomputed.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Gradient of a [out, in] factor: a^T b, straight into the sink where there is one.
at::Tensor factor_gradient(const at::Tensor& parameter, const at::Tensor& a, const at::Tensor& b,
                           double scale) {
  GradSink* sink = grad_sink(parameter);
  if (!sink) return matmul_tn(a, b, scale);
  const auto product = [parameter, sink, a, b, scale] {  // the sink rides on the parameter
    matmul_tn_add(sink->main_grad(), a, b, scale);
    sink->done();
  };
  if (!defer_gradient(product)) product();
  return {};
}

at::Tensor bias_gradient(const at::Tensor& bias, const at::Tensor& dy) {
  const at::ScalarType sum_type = sum_dtype(dy);
  return deliver_gradient(bias, dy.sum(0, false, sum_type));
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  at::Tensor y = matmul_nt(x, weight);
  return bias.defined() ? y.add_(bias) : y;
}

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& given_bias) {
    const at::Tensor bias = given_bias.value_or(at::Tensor());
    if (weight.requires_grad()) {
      save_with_input(ctx, {weight, bias}, x);
    } else {
      ctx->save_for_backward({weight, bias});
    }
    return product(x, weight, bias);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor dy = grads[0].contiguous();
    variable_list out(3);
    if (ctx->needs_input_grad(1)) out[1] = factor_gradient(saved[0], dy, restore_input(ctx, saved, 2), 1.0);
    if (ctx->needs_input_grad(0)) out[0] = matmul_nn(dy, saved[0]);
    if (saved[1].defined() && ctx->needs_input_grad(2)) out[2] = bias_gradient(saved[1], dy);
    return out;
  }
};

struct AddBias : torch::autograd::Function<AddBias> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& bias) {
    ctx->save_for_backward({bias});
    return x + bias;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor bias = ctx->get_saved_variables()[0];
    return {grads[0], ctx->needs_input_grad(1) ? bias_gradient(bias, grads[0]) : at::Tensor()};
  }
};

at::Tensor adapted_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& xa,
                           const at::Tensor& lora_b, double scale) {
  at::Tensor y = matmul_nt(x, weight);
  matmul_nt_add_(y, xa, lora_b, scale);
  return y;
}

struct LoraLinear : torch::autograd::Function<LoraLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& lora_a, const at::Tensor& lora_b, double scale) {
    const at::Tensor xa = matmul_nt(x, lora_a);
    save_with_input(ctx, {weight, lora_a, lora_b, xa}, x);
    ctx->saved_data["scale"] = scale;
    return adapted_product(x, weight, xa, lora_b, scale);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &weight = saved[0], &lora_a = saved[1], &lora_b = saved[2], &xa = saved[3];
    const double scale = ctx->saved_data["scale"].toDouble();
    const at::Tensor dy = grads[0].contiguous();
    const at::Tensor dxa = matmul_nn(dy, lora_b);  // [N, r], `scale` joins below
    variable_list out(5);
    if (ctx->needs_input_grad(0)) {
      out[0] = matmul_nn(dy, weight);
      matmul_nn_add_(out[0], dxa, lora_a, scale);
    }
    if (ctx->needs_input_grad(3)) out[3] = factor_gradient(lora_b, dy, xa, scale);
    if (ctx->needs_input_grad(2)) out[2] = factor_gradient(lora_a, dxa, restore_input(ctx, saved, 4), scale);
    return out;
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  expect_gradient(weight);
  expect_gradient(bias);
  if (!at::GradMode::is_enabled()) return product(x.contiguous(), weight, bias);
  // autograd takes no undefined tensor as an argument, only an empty optional.
  return Linear::apply(x.contiguous(), weight, bias.defined() ? std::make_optional(bias) : std::nullopt);
}

at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& lora_a,
                       const at::Tensor& lora_b, double scale) {
  TORCH_CHECK(!weight.requires_grad(), "lora_linear: the base weight must be frozen");
  expect_gradient(lora_a);
  expect_gradient(lora_b);
  const at::Tensor rows = x.contiguous();
  if (!at::GradMode::is_enabled())
    return adapted_product(rows, weight, matmul_nt(rows, lora_a), lora_b, scale);
  return LoraLinear::apply(rows, weight, lora_a, lora_b, scale);
}

at::Tensor add_bias(const at::Tensor& x, const at::Tensor& bias) {
  expect_gradient(bias);
  return AddBias::apply(x, bias);
}

}  // namespace phalanx::ops
