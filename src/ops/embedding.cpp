#include "ops/embedding.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/grad_sink.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& ids, const at::Tensor& weight) {
    ctx->save_for_backward({ids, weight});
    return at::index_select(weight, 0, ids);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &ids = saved[0], &weight = saved[1];
    const at::ScalarType sum_type = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor rows = grads[0].to(sum_type);
    GradSink* sink = grad_sink(weight);
    at::Tensor total = sink ? sink->main_grad() : at::zeros(weight.sizes(), weight.options().dtype(sum_type));
    total.index_add_(0, ids, rows);
    if (sink) {
      sink->done();
      return {at::Tensor(), at::Tensor()};
    }
    return {at::Tensor(), total.to(weight.scalar_type())};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& weight) {
  expect_gradient(weight);
  return Embedding::apply(ids, weight);
}

}  // namespace phalanx::ops
