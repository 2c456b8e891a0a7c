#include "ops/expert_order.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

#include "ops/recomputed.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// sum_j y[positions[:, j]], each row times weights[:, j] where there are weights.
at::Tensor sum_of_choices(const at::Tensor& y, const at::Tensor& positions, const at::Tensor& weights) {
  const at::ScalarType wide = sum_dtype(y);
  at::Tensor sum = at::zeros({positions.size(0), y.size(1)}, y.options().dtype(wide));
  for (int64_t j = 0; j < positions.size(1); ++j) {
    const at::Tensor rows = y.index_select(0, positions.select(1, j)).to(wide);
    if (weights.defined()) {
      sum.addcmul_(rows, weights.narrow(1, j, 1));
    } else {
      sum.add_(rows);
    }
  }
  return sum.to(y.scalar_type());
}

at::Tensor token_of(const at::Tensor& slots, int64_t num_choices) {
  return slots.div(num_choices, "floor");
}

struct ToExpertOrder : torch::autograd::Function<ToExpertOrder> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& slots,
                            const at::Tensor& positions) {
    ctx->save_for_backward({positions});
    const at::Tensor tokens = token_of(slots, positions.size(1));
    const at::Tensor rows = x.index_select(0, tokens);
    set_recipe(rows, {x, tokens},
               [](const variable_list& made_of) { return made_of[0].index_select(0, made_of[1]); });
    return rows;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {sum_of_choices(grads[0], ctx->get_saved_variables()[0], {}), at::Tensor(), at::Tensor()};
  }
};

struct FromExpertOrder : torch::autograd::Function<FromExpertOrder> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& y, const at::Tensor& weights,
                            const at::Tensor& slots, const at::Tensor& positions) {
    ctx->save_for_backward({y, weights, slots, positions});
    return sum_of_choices(y, positions, weights);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &y = saved[0], &weights = saved[1], &slots = saved[2], &positions = saved[3];
    const int64_t k = positions.size(1);
    const at::Tensor out_gradient = grads[0].to(sum_dtype(y));
    variable_list out(4);
    if (ctx->needs_input_grad(0)) {
      const at::Tensor factors = weights.reshape(-1).index_select(0, slots).unsqueeze(1);  // [R, 1]
      out[0] = out_gradient.index_select(0, token_of(slots, k)).mul_(factors).to(y.scalar_type());
    }
    if (ctx->needs_input_grad(1)) {
      out[1] = at::empty_like(weights);
      for (int64_t j = 0; j < k; ++j) {
        out[1].select(1, j).copy_((y.index_select(0, positions.select(1, j)) * out_gradient).sum(1));
      }
    }
    return out;
  }
};

}  // namespace

ExpertOrder expert_order(const at::Tensor& experts, int64_t num_experts) {
  TORCH_CHECK(experts.dim() == 2 && experts.scalar_type() == at::kLong,
              "expert_order: experts must be [N, k] int64");
  const at::Tensor flat = experts.reshape(-1);
  const at::Tensor slots = std::get<1>(flat.sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
  const at::Tensor rows = at::arange(flat.size(0), flat.options());
  const at::Tensor counts = at::bincount(flat, {}, num_experts).cpu();
  TORCH_CHECK(counts.size(0) == num_experts, "expert_order: there is a token for expert ", counts.size(0) - 1,
              " of ", num_experts);
  const int64_t* count = counts.const_data_ptr<int64_t>();
  // Every element is written once: scattering needs no order.
  return {slots, at::empty_like(flat).scatter_(0, slots, rows).view(experts.sizes()),
          std::vector<int64_t>(count, count + num_experts)};
}

std::vector<int64_t> offsets_of(const std::vector<int64_t>& counts) {
  std::vector<int64_t> offsets = {0};
  std::partial_sum(counts.begin(), counts.end(), std::back_inserter(offsets));
  return offsets;
}

at::Tensor to_expert_order(const at::Tensor& x, const ExpertOrder& order) {
  return ToExpertOrder::apply(x.contiguous(), order.slots, order.positions);
}

at::Tensor from_expert_order(const at::Tensor& y, const at::Tensor& weights, const ExpertOrder& order) {
  TORCH_CHECK(weights.sizes() == order.positions.sizes(), "from_expert_order: weights are ", weights.sizes(),
              ", the choices ", order.positions.sizes());
  return FromExpertOrder::apply(y, weights, order.slots, order.positions);
}

}  // namespace phalanx::ops
