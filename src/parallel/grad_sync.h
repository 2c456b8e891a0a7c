#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "parallel/flat_parameters.h"
#include "parallel/mesh.h"

namespace phalanx::parallel {

/// Brings the gradients of all micro-steps and ranks together, and the updated weights back to all ranks. The
/// Schedule calls before_backward() and after_backward() around each backward, the trainer the others, in
/// this order and the same on every rank of a stage.
class GradSync {
 public:
  virtual ~GradSync() = default;
  virtual void begin_step(int64_t num_micro_steps) = 0;  ///< gradients start from zero
  virtual void before_backward(int64_t micro_step) = 0;
  virtual void after_backward(int64_t micro_step) = 0;
  /// Waits for the reductions that overlapped with the backward. Afterwards the owned parts of the gradient
  /// hold the sum over all ranks.
  virtual void finish() = 0;
  /// L2 norm of the whole gradient, the same on every rank.
  virtual double grad_norm() = 0;
  /// After the owned parts of the weights have changed: every rank gets them.
  virtual void after_update() = 0;
};

struct GradSyncOptions {
  bool mesh_invariant = false;
  // For mesh_invariant:
  std::vector<std::string> trained_names = {};  ///< of the whole model, in execution order
  std::string tied_weight = {};                 ///< the embedding's, where the head uses it too
};

/// What stands behind `parameters.options().zero_stage`; `parameters` and `mesh` must outlive the result.
/// Gradients are summed, never averaged: losses are already divided by global counts.
///  - stage 0 (data_parallel.h): blocks of gradients are all-reduced while the last backward still runs;
///  - stages 1 to 3 (zero.h): blocks are reduce-scattered, weights are gathered;
///  - mesh_invariant (tree_grad_sync.h): micro-steps are single sequences, added along one fixed binary tree.
std::unique_ptr<GradSync> make_grad_sync(FlatParameters& parameters, const Mesh& mesh,
                                         const GradSyncOptions& options);

}  // namespace phalanx::parallel
