#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "parallel/grad_sync.h"

namespace phalanx::parallel {

/// Runs the micro-steps of one optimizer step. Pipeline schedules will be further implementations.
class Schedule {
 public:
  virtual ~Schedule() = default;

  /// @param forward  builds the graph of one micro-step and returns its scalar loss, already divided by the
  /// global count.
  /// @return the losses of the micro-steps of this rank, in their order.
  virtual std::vector<double> forward_backward(int64_t num_micro_steps,
                                               const std::function<at::Tensor(int64_t)>& forward,
                                               GradSync& grad_sync) = 0;
};

/// One micro-step after the other: forward, then backward.
class PlainSchedule : public Schedule {
 public:
  std::vector<double> forward_backward(int64_t num_micro_steps,
                                       const std::function<at::Tensor(int64_t)>& forward,
                                       GradSync& grad_sync) override;
};

}  // namespace phalanx::parallel
