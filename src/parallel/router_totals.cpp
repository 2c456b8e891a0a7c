#include "parallel/router_totals.h"

#include <ATen/ATen.h>

#include <utility>

#include "ops/training_forward.h"

namespace phalanx::parallel {

std::shared_ptr<model::RouterLoss> find_router_loss(const model::CausalLm& model) {
  for (const auto& [path, module] : model.named_modules()) {
    if (auto loss = std::dynamic_pointer_cast<model::RouterLoss>(module)) return loss;
  }
  return nullptr;
}

RouterTotals::RouterTotals(std::unique_ptr<Schedule> inner, model::CausalLm& model, const Mesh& mesh)
    : inner_(std::move(inner)), loss_(find_router_loss(model)), mesh_(mesh) {
  loss_->set_totals(
      [this](const at::Tensor& sums) { return totals_.defined() ? totals_ : over_all_ranks(sums); });
}

RouterTotals::~RouterTotals() {
  loss_->reset_totals();
}

std::vector<double> RouterTotals::forward_backward(const StepWork& work, GradSync& grad_sync) {
  totals_ = work.num_micro_steps > 1 ? of_all_micro_steps(work) : at::Tensor();
  return inner_->forward_backward(work, grad_sync);
}

at::Tensor RouterTotals::of_all_micro_steps(const StepWork& work) {
  const ops::TrainingForward same_kernels;  // and so the same choices as in the forward proper
  at::Tensor sums;
  for (int64_t i = 0; i < work.num_micro_steps; ++i) {
    const at::Tensor part = inner_->forward(work.input(i)).router_sums;
    if (part.defined()) sums = sums.defined() ? sums + part : part;
  }
  return sums.defined() ? over_all_ranks(sums) : sums;  // the last stage has them
}

at::Tensor RouterTotals::over_all_ranks(const at::Tensor& sums) const {
  at::Tensor all = sums.clone();
  mesh_.batch().all_reduce(all);
  return all;
}

}  // namespace phalanx::parallel
