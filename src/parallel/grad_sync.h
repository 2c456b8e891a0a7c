#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "parallel/flat_parameters.h"

namespace phalanx::parallel {

/// Brings the gradients of all micro-steps and ranks together in FlatParameters::grad(). ZeRO stages will be
/// further implementations. Called by the Schedule in this order, the same on every rank.
class GradSync {
 public:
  virtual ~GradSync() = default;
  virtual void begin_step(int64_t num_micro_steps) = 0;  ///< gradients start from zero
  virtual void before_backward(int64_t micro_step) = 0;
  virtual void after_backward(int64_t micro_step) = 0;
  virtual void finish() = 0;  ///< afterwards grad() holds the sum over all ranks, on every rank
};

struct GradSyncOptions {
  bool mesh_invariant = false;
  int64_t bucket_bytes = 32 << 20;
};

/// `parameters` and `group` must outlive the result. Gradients are summed, never averaged: losses are already
/// divided by global counts.
///  - plain or data parallel: buckets of contiguous gradients are all-reduced while the last backward still
///  runs
///    (Li et al. 2020, arXiv:2006.15704);
///  - mesh_invariant: micro-steps are single sequences, added along one fixed binary tree
///  (docs/architecture.md);
///    the group's size must be a power of two.
std::unique_ptr<GradSync> make_grad_sync(FlatParameters& parameters, comm::Communicator& group,
                                         const GradSyncOptions& options);

}  // namespace phalanx::parallel
