#pragma once
#include <memory>

#include "model/moe.h"
#include "parallel/mesh.h"
#include "parallel/schedule.h"

namespace phalanx::parallel {

/// The auxiliary loss of routers over the whole global batch: what model::RouterLoss has to know of all of
/// its tokens before the first backward, however ranks and micro-steps share them.
///
///     one micro-step     the sums of its forward, added over mesh.batch() (2 E + 2 fp64 numbers)
///     several            first a forward of all of them without gradients, a third more to compute; its sums
///                        are added likewise, once a step
///
/// So loss and gradients are those of one rank with one micro-step, and do not depend on the mesh or on
/// train.micro_batch_size.
class RouterTotals : public Schedule {
 public:
  /// Installs itself in the model's RouterLoss. `model` and `mesh` must outlive it.
  RouterTotals(std::unique_ptr<Schedule> inner, model::CausalLm& model, const Mesh& mesh);
  ~RouterTotals() override;
  RouterTotals(const RouterTotals&) = delete;
  RouterTotals& operator=(const RouterTotals&) = delete;

  std::vector<double> forward_backward(const StepWork& work, GradSync& grad_sync) override;
  model::LayersOutput forward(const model::ModelInput& input, model::KvCache* cache = nullptr) override {
    return inner_->forward(input, cache);
  }

 private:
  at::Tensor over_all_ranks(const at::Tensor& sums) const;
  at::Tensor of_all_micro_steps(const StepWork& work);

  std::unique_ptr<Schedule> inner_;
  std::shared_ptr<model::RouterLoss> loss_;
  const Mesh& mesh_;
  at::Tensor totals_;  // of the step under way, where a forward came first
};

/// The model's RouterLoss; null where it has none.
std::shared_ptr<model::RouterLoss> find_router_loss(const model::CausalLm& model);

}  // namespace phalanx::parallel
