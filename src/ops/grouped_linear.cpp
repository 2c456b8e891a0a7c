#include "ops/grouped_linear.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "ops/deferred_gradients.h"
#include "ops/grad_sink.h"
#include "ops/matmul.h"
#include "ops/recomputed.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Multiply = at::Tensor (*)(const at::Tensor& rows, const at::Tensor& weight);

at::Tensor rows_of(const at::Tensor& x, const std::vector<int64_t>& offsets, size_t expert) {
  return x.narrow(0, offsets[expert], offsets[expert + 1] - offsets[expert]);
}

// Rows of every expert times its matrix, [R, num_columns].
at::Tensor products(const at::Tensor& x, const std::vector<int64_t>& offsets, at::TensorList weights,
                    Multiply multiply, int64_t num_columns) {
  at::Tensor y = at::empty({x.size(0), num_columns}, x.options());
  for (size_t e = 0; e < weights.size(); ++e) {
    const at::Tensor rows = rows_of(x, offsets, e);
    if (rows.size(0) > 0) rows_of(y, offsets, e).copy_(multiply(rows, weights[e]));
  }
  return y;
}

// dy^T x of one expert, straight into the sink where there is one.
at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x) {
  GradSink* sink = grad_sink(weight);
  const bool has_rows = dy.size(0) > 0;
  if (!sink) return has_rows ? matmul_tn(dy, x) : at::zeros(weight.sizes(), weight.options());
  const auto product = [weight, sink, has_rows, dy, x] {  // the sink rides on the weight
    if (has_rows) matmul_tn_add(sink->main_grad(), dy, x);
    sink->done();
  };
  if (!defer_gradient(product)) product();
  return {};
}

struct GroupedLinear : torch::autograd::Function<GroupedLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList weights,
                            const std::vector<int64_t>& offsets) {
    variable_list saved(weights.begin(), weights.end());
    ctx->saved_data["offsets"] = offsets;
    if (std::any_of(weights.begin(), weights.end(), [](const auto& w) { return w.requires_grad(); })) {
      save_with_input(ctx, std::move(saved), x);
    } else {
      ctx->save_for_backward(std::move(saved));
    }
    return products(x, offsets, weights, matmul_nt, weights[0].size(0));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const std::vector<int64_t> offsets = ctx->saved_data["offsets"].toIntVector();
    const size_t num_experts = offsets.size() - 1;
    const variable_list saved = ctx->get_saved_variables();
    const at::TensorList weights(saved.data(), num_experts);
    const at::Tensor dy = grads[0].contiguous();
    variable_list out(1 + num_experts + 1);  // x, the weights, offsets
    at::Tensor x;
    for (size_t e = 0; e < num_experts; ++e) {
      if (!ctx->needs_input_grad(1 + e)) continue;
      if (!x.defined()) x = restore_input(ctx, saved, num_experts);
      out[1 + e] = weight_gradient(weights[e], rows_of(dy, offsets, e), rows_of(x, offsets, e));
    }
    if (ctx->needs_input_grad(0)) {
      out[0] = products(dy, offsets, weights, matmul_nn, weights[0].size(1));
    }
    return out;
  }
};

void check(const at::Tensor& x, const std::vector<int64_t>& offsets, const std::vector<at::Tensor>& weights) {
  TORCH_CHECK(!weights.empty() && offsets.size() == weights.size() + 1, "grouped_linear: ", weights.size(),
              " weights need as many offsets and one more, not ", offsets.size());
  TORCH_CHECK(
      offsets.front() == 0 && offsets.back() == x.size(0) && std::is_sorted(offsets.begin(), offsets.end()),
      "grouped_linear: offsets must rise from 0 to the number of rows, ", x.size(0));
  for (const at::Tensor& weight : weights) {
    TORCH_CHECK(weight.sizes() == weights[0].sizes() && weight.size(1) == x.size(1), "grouped_linear: x is ",
                x.sizes(), ", one weight ", weight.sizes(), ", another ", weights[0].sizes());
  }
}

}  // namespace

at::Tensor grouped_linear(const at::Tensor& x, const std::vector<int64_t>& offsets,
                          const std::vector<at::Tensor>& weights) {
  check(x, offsets, weights);
  for (const at::Tensor& weight : weights) expect_gradient(weight);
  const at::Tensor rows = x.contiguous();
  if (!at::GradMode::is_enabled()) {
    return products(rows, offsets, weights, matmul_nt, weights[0].size(0));
  }
  return GroupedLinear::apply(rows, at::TensorList(weights), offsets);
}

}  // namespace phalanx::ops
