#include "ops/moe_router.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Gradient of softmax where `p` is its value: p (dp - <dp, p>).
at::Tensor softmax_gradient(const at::Tensor& p, const at::Tensor& dp) {
  return p * (dp - (dp * p).sum(1, /*keepdim=*/true));
}

struct Router : torch::autograd::Function<Router> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& logits, int64_t k, bool normalise) {
    const at::Tensor wide = logits.to(sum_dtype(logits));
    const at::Tensor probabilities = wide.softmax(1), log_z = wide.logsumexp(1);
    // Stable, so that ties fall the same way everywhere, which topk does not promise.
    const auto [sorted, order] = probabilities.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    const at::Tensor experts = order.narrow(1, 0, k).contiguous(), chosen = sorted.narrow(1, 0, k);
    const at::Tensor weights = normalise ? chosen / chosen.sum(1, /*keepdim=*/true) : chosen.contiguous();
    ctx->mark_non_differentiable({experts});
    ctx->save_for_backward({probabilities, weights, experts});
    ctx->saved_data["normalise"] = normalise;
    ctx->saved_data["dtype"] = logits.scalar_type();
    ctx->set_materialize_grads(false);
    return {experts, weights, probabilities, log_z};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &probabilities = saved[0], &weights = saved[1], &experts = saved[2];
    at::Tensor gradient = at::zeros_like(probabilities);
    at::Tensor of_probabilities = grads[2];
    if (grads[1].defined() && ctx->saved_data["normalise"].toBool()) {
      // The renormalised probabilities are a softmax over the k chosen logits; each logit is chosen at most
      // once.
      gradient.scatter_(1, experts, softmax_gradient(weights, grads[1]));
    } else if (grads[1].defined()) {
      const at::Tensor chosen = at::zeros_like(probabilities).scatter_(1, experts, grads[1]);
      of_probabilities = of_probabilities.defined() ? of_probabilities + chosen : chosen;
    }
    if (of_probabilities.defined()) gradient.add_(softmax_gradient(probabilities, of_probabilities));
    if (grads[3].defined()) gradient.addcmul_(probabilities, grads[3].unsqueeze(1));
    return {gradient.to(ctx->saved_data["dtype"].toScalarType()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Routing moe_router(const at::Tensor& logits, int64_t num_experts_per_tok, bool normalise_weights) {
  TORCH_CHECK(num_experts_per_tok >= 1 && num_experts_per_tok <= logits.size(1),
              "moe_router: num_experts_per_tok is ", num_experts_per_tok, " of ", logits.size(1), " experts");
  const variable_list out = Router::apply(logits, num_experts_per_tok, normalise_weights);
  return {out[0], out[1], out[2], out[3]};
}

at::Tensor router_sums(const Routing& routing, const std::vector<int64_t>& counts) {
  const at::Tensor& p = routing.probabilities;
  const at::TensorOptions options = p.options().dtype(at::kDouble);
  return at::cat({at::tensor(counts, at::kDouble).to(options.device()), p.sum(0, false, at::kDouble),
                  routing.log_z.to(at::kDouble).square().sum().view({1}),
                  at::full({1}, static_cast<double>(p.size(0)), options)});
}

at::Tensor load_balancing_loss(const at::Tensor& sums, const at::Tensor& totals) {
  const int64_t num_experts = (sums.size(0) - 2) / 2;
  const at::Tensor sent = totals.narrow(0, 0, num_experts).detach();
  const at::Tensor probabilities = sums.narrow(0, num_experts, num_experts);
  return (sent * probabilities).sum() * num_experts / totals[2 * num_experts + 1].detach().square();
}

at::Tensor router_z_loss(const at::Tensor& sums, const at::Tensor& totals) {
  const int64_t last = sums.size(0) - 1;
  return sums[last - 1] / totals[last].detach();
}

}  // namespace phalanx::ops
