#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "model/causal_lm.h"
#include "parallel/grad_sync.h"

namespace phalanx::parallel {

/// The micro-steps of one optimizer step, as this rank would do them with the whole model.
struct StepWork {
  int64_t num_micro_steps = 0;
  std::function<model::ModelInput(int64_t micro_step)> input;
  /// The scalar loss from what the last layer leaves, already divided by the global count.
  std::function<at::Tensor(int64_t micro_step, const model::LayersOutput& output)> loss;
};

/// Runs the micro-steps of one optimizer step.
class Schedule {
 public:
  virtual ~Schedule() = default;
  /// @return the losses of the micro-steps of this rank, in their order; zeros where this rank does not have
  /// the last layers.
  virtual std::vector<double> forward_backward(const StepWork& work, GradSync& grad_sync) = 0;
  /// What the last layer leaves, without a gradient; undefined where it is not on this rank. Collective over
  /// the stages.
  /// @param cache  where given, as in CausalLm::hidden_cached(): the keys and values of this rank's layers.
  virtual model::LayersOutput forward(const model::ModelInput& input, model::KvCache* cache = nullptr) = 0;
};

/// One micro-step after the other: forward, then backward.
class PlainSchedule : public Schedule {
 public:
  explicit PlainSchedule(model::CausalLm& model) : model_(model) {}
  std::vector<double> forward_backward(const StepWork& work, GradSync& grad_sync) override;
  model::LayersOutput forward(const model::ModelInput& input, model::KvCache* cache = nullptr) override;

 private:
  model::CausalLm& model_;
};

}  // namespace phalanx::parallel
