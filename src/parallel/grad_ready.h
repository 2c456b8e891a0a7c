#pragma once
#include <c10/util/intrusive_ptr.h>

#include <functional>

#include "parallel/flat_parameters.h"

namespace phalanx::parallel {

/// Attaches an ops::GradSink to every parameter, so that its gradients are added straight into
/// FlatParameters::grad(), and calls `ready(slot index)` inside a backward when a parameter has received all
/// of its contributions.
class GradReady {
 public:
  GradReady(FlatParameters& parameters, const std::function<void(size_t)>& ready);
  ~GradReady();  // detaches
  GradReady(const GradReady&) = delete;
  GradReady& operator=(const GradReady&) = delete;

  /// After each backward: a gradient that autograd left in `param.grad()` (an operation without a sink) is
  /// moved into the buffer, so that none is ever lost.
  void end_backward();
  /// Before a step: forgets forwards that were dropped.
  void reset();

 private:
  FlatParameters& parameters_;
};

}  // namespace phalanx::parallel
