#include "ops/cross_entropy.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/grad_sink.h"
#include "ops/matmul.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kChunkRows = 128;
constexpr int64_t kIgnored = -100;

at::ScalarType sum_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

struct Chunk {
  at::Tensor log_probabilities;  // [rows, V] fp32 or fp64
  at::Tensor losses;             // [rows]
  at::Tensor labelled;           // [rows, 1] 1 or 0
};

Chunk evaluate(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  const at::Tensor log_p = at::log_softmax(matmul_nt(hidden, weight).to(sum_type(hidden)), 1);
  const at::Tensor labelled = labels.ne(kIgnored).to(log_p.scalar_type());
  const at::Tensor picked = log_p.gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1);
  return {log_p, at::where(labelled.to(at::kBool), -picked, at::zeros_like(picked)), labelled.unsqueeze(1)};
}

struct Result {
  at::Tensor losses, hidden_grad, weight_grad;
};

Result run(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, double grad_scale,
           bool want_hidden, at::Tensor weight_grad) {
  const int64_t rows = hidden.size(0);
  Result result{at::empty({rows}, hidden.options().dtype(sum_type(hidden))), {}, weight_grad};
  if (want_hidden) result.hidden_grad = at::empty_like(hidden);
  for (int64_t begin = 0; begin < rows; begin += kChunkRows) {
    const int64_t n = std::min(kChunkRows, rows - begin);
    const at::Tensor x = hidden.narrow(0, begin, n), y = labels.narrow(0, begin, n);
    Chunk chunk = evaluate(x, weight, y);
    result.losses.narrow(0, begin, n).copy_(chunk.losses);
    if (!want_hidden && !weight_grad.defined()) continue;
    at::Tensor d = chunk.log_probabilities.exp_();
    d.scatter_add_(1, y.clamp_min(0).unsqueeze(1), -at::ones({n, 1}, d.options()));
    d = d.mul_(chunk.labelled * grad_scale).to(hidden.scalar_type());
    if (want_hidden) result.hidden_grad.narrow(0, begin, n).copy_(matmul_nn(d, weight));
    if (weight_grad.defined()) matmul_tn_add(weight_grad, d, x);
  }
  return result;
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& labels, double grad_scale) {
    GradSink* sink = grad_sink(weight);
    at::Tensor weight_grad;
    if (weight.requires_grad())
      weight_grad =
          sink ? sink->main_grad() : at::zeros(weight.sizes(), weight.options().dtype(sum_type(weight)));
    const Result result = run(hidden, weight, labels, grad_scale, hidden.requires_grad(), weight_grad);
    ctx->save_for_backward({result.hidden_grad, weight, sink ? at::Tensor() : weight_grad});
    ctx->saved_data["grad_scale"] = grad_scale;
    ctx->mark_non_differentiable({result.losses});
    return {result.losses.sum(), result.losses};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const double grad_scale = ctx->saved_data["grad_scale"].toDouble();
    // What is left of d(loss)/d(this sum) beyond the factor already applied in the forward; 1 in a training
    // step.
    const double expected =
        grads[0].scalar_type() == at::kDouble ? grad_scale : static_cast<float>(grad_scale);
    const double given = grads[0].item<double>(), factor = given == expected ? 1.0 : given / grad_scale;
    variable_list out(4);
    if (saved[0].defined()) out[0] = factor == 1.0 ? saved[0] : saved[0] * factor;
    if (saved[2].defined())
      out[1] = (factor == 1.0 ? saved[2] : saved[2] * factor).to(saved[1].scalar_type());
    if (GradSink* sink = grad_sink(saved[1]); sink && saved[1].requires_grad()) {
      TORCH_CHECK(factor == 1.0, "linear_cross_entropy: the loss was multiplied by ", given,
                  " but grad_scale is ", grad_scale, "; with a gradient sink they must be equal");
      sink->done();
    }
    return out;
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                                double grad_scale, at::Tensor* row_losses) {
  expect_gradient(weight);
  if (!at::GradMode::is_enabled() || !(hidden.requires_grad() || weight.requires_grad())) {
    const Result result = run(hidden.contiguous(), weight, labels, grad_scale, false, {});
    if (row_losses) *row_losses = result.losses;
    return result.losses.sum();
  }
  const variable_list out = LinearCrossEntropy::apply(hidden.contiguous(), weight, labels, grad_scale);
  if (row_losses) *row_losses = out[1];
  return out[0];
}

at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  at::NoGradGuard no_grad;
  return run(hidden.contiguous(), weight, labels, 1.0, false, {}).losses.neg_();
}

}  // namespace phalanx::ops
