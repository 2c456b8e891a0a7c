#include "ops/embedding.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/grad_sink.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// total[ids[i]] += rows[i] unless ids[i] is `skipped`, i ascending. One thread: N rows are little work, and
// the order is the point.
void add_rows(const at::Tensor& total, const at::Tensor& ids, const at::Tensor& rows, int64_t skipped) {
  if (total.device().is_cpu() && total.scalar_type() == at::kFloat && total.is_contiguous()) {
    const int64_t n = rows.size(1);
    const int64_t* id = ids.data_ptr<int64_t>();
    const float* source = rows.data_ptr<float>();
    for (int64_t i = 0; i < ids.size(0); ++i, source += n) {
      if (id[i] == skipped) continue;
      float* target = total.data_ptr<float>() + id[i] * n;
      for (int64_t j = 0; j < n; ++j) target[j] += source[j];
    }
    return;
  }
  at::Tensor(total).index_add_(0, ids, rows.masked_fill(ids.eq(skipped).unsqueeze(1), 0.0));
}

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& ids, const at::Tensor& weight,
                            int64_t skipped) {
    ctx->save_for_backward({ids, weight});
    ctx->saved_data["skipped"] = skipped;
    return at::index_select(weight, 0, ids);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &ids = saved[0], &weight = saved[1];
    const at::ScalarType sum_type = sum_dtype(weight);
    GradSink* sink = grad_sink(weight);
    at::Tensor total = sink ? sink->main_grad() : at::zeros(weight.sizes(), weight.options().dtype(sum_type));
    add_rows(total, ids, grads[0].to(sum_type).contiguous(), ctx->saved_data["skipped"].toInt());
    if (sink) {
      sink->done();
      return {at::Tensor(), at::Tensor(), at::Tensor()};
    }
    return {at::Tensor(), total.to(weight.scalar_type()), at::Tensor()};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& weight, std::optional<int64_t> padding_id) {
  expect_gradient(weight);
  return Embedding::apply(ids.contiguous(), weight, padding_id.value_or(-1));
}

}  // namespace phalanx::ops
