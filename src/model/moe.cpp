#include "model/moe.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <string>

#include "model/few_rows.h"
#include "ops/ops.h"

namespace phalanx::model {
namespace {

/// Holds the matrices of one expert under their names.
class Expert : public Module {
 public:
  Expert(const TransformerConfig& c, const Experts::Names& names) {
    const int64_t size = c.expert_size();
    w1 = register_module(names.w1, std::make_shared<Linear>(c.hidden_size, size, false));
    w3 = register_module(names.w3, std::make_shared<Linear>(c.hidden_size, size, false));
    w2 = register_module(names.w2, std::make_shared<Linear>(size, c.hidden_size, false));
  }
  std::shared_ptr<Linear> w1, w2, w3;
};

}  // namespace

Experts::Experts(const TransformerConfig& c, const Names& names) : num_experts_(c.num_local_experts) {
  for (int64_t e = 0; e < num_experts_; ++e) {
    const auto expert = register_module(std::to_string(e), std::make_shared<Expert>(c, names));
    w1_.push_back(expert->w1);
    w2_.push_back(expert->w2);
    w3_.push_back(expert->w3);
  }
}

at::Tensor Experts::base(const at::Tensor& rows, const std::vector<int64_t>& counts) const {
  return products(w2_, ops::swiglu(products(w1_, rows, counts), products(w3_, rows, counts)), counts);
}

at::Tensor Experts::products(const Linears& linears, const at::Tensor& rows,
                             const std::vector<int64_t>& counts) {
  const bool plain = std::all_of(linears.begin(), linears.end(), [](const auto& l) { return l->is_plain(); });
  if (plain && !few_rows_applies(rows, linears[0]->weight)) {
    std::vector<at::Tensor> weights;
    for (const auto& linear : linears) weights.push_back(linear->weight);
    return ops::grouped_linear(rows, ops::offsets_of(counts), weights);
  }
  const std::vector<at::Tensor> parts = rows.split_with_sizes(counts);
  std::vector<at::Tensor> outputs;
  for (size_t e = 0; e < linears.size(); ++e) {
    // Without rows as well where gradients are wanted: an adapter then gets its zero.
    if (counts[e] > 0 || at::GradMode::is_enabled()) outputs.push_back(linears[e]->forward(parts[e]));
  }
  return outputs.empty() ? rows.new_empty({0, linears[0]->weight.size(0)}) : at::cat(outputs);
}

void Experts::keep(int64_t first, int64_t count) {
  TORCH_CHECK(first >= first_kept_ && count >= 1 && first + count <= first_kept_ + num_kept(),
              "keep: experts ", first, " to ", first + count - 1, " of ", first_kept_, " to ",
              first_kept_ + num_kept() - 1);
  for (int64_t e = first_kept_; e < first_kept_ + num_kept(); ++e) {
    if (e < first || e >= first + count) remove_module(std::to_string(e));
  }
  for (Linears* linears : {&w1_, &w2_, &w3_}) {
    const auto begin = linears->begin() + (first - first_kept_);
    *linears = Linears(begin, begin + count);
  }
  first_kept_ = first;
}

SparseMoe::SparseMoe(const TransformerConfig& c, const Experts::Names& names)
    : num_experts_(c.num_local_experts),
      num_experts_per_tok_(c.num_experts_per_tok),
      normalises_weights_(c.norm_topk_prob),
      has_router_loss_(c.load_balancing_coef() > 0 || c.router_z_loss_coef > 0) {
  gate_ = register_module("gate", std::make_shared<Linear>(c.hidden_size, num_experts_, false));
  experts_ = register_module("experts", std::make_shared<Experts>(c, names));
}

FeedForward::Output SparseMoe::forward(const at::Tensor& x) const {
  const ops::Routing routing = ops::moe_router(gate_->forward(x), num_experts_per_tok_, normalises_weights_);
  const ops::ExpertOrder order = ops::expert_order(routing.experts, num_experts_);
  const at::Tensor outputs = experts_->forward(ops::to_expert_order(x, order), order.counts);
  const Output output = {
      .update = ops::from_expert_order(outputs, routing.weights, order),
      .router_sums = has_router_loss_ ? ops::router_sums(routing, order.counts) : at::Tensor()};
  return exit_ ? exit_(output) : output;
}

RouterLoss::RouterLoss(const TransformerConfig& c)
    : balance_coef_(c.load_balancing_coef()), z_coef_(c.router_z_loss_coef) {}

at::Tensor RouterLoss::forward(const at::Tensor& sums) const {
  if (!sums.defined()) return {};
  const at::Tensor seen = sums.detach(), totals = totals_ ? totals_(seen) : seen;
  return ops::load_balancing_loss(sums, totals) * balance_coef_ + ops::router_z_loss(sums, totals) * z_coef_;
}

}  // namespace phalanx::model
