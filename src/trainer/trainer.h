#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/state.h"
#include "parallel/distributed_model.h"
#include "trainer/method.h"
#include "trainer/optimizer.h"
#include "trainer/options.h"

namespace phalanx::trainer {

/// What one optimizer step did; equal on every rank but for record_ids.
struct StepStats {
  int64_t step = 0;             ///< from 1
  double loss = 0;              ///< of the global batch, as the method defines it
  double grad_norm = 0;         ///< global L2 norm before clipping
  double learning_rate = 0;     ///< the one used
  int64_t tokens = 0;           ///< of the global batch
  int64_t target_tokens = 0;    ///< those with a loss
  std::vector<Metric> metrics;  ///< of the method
  std::vector<int64_t>
      record_ids;  ///< of this rank's samples, in their order; the only part that differs between ranks
};

struct TrainerOptions {
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  double max_grad_norm = 1.0;
  int64_t max_steps = 1;
};

/// One optimizer step over all ranks of the mesh, of a model and of its method's companions: one gradient
/// norm, one learning rate. Everything it works with is handed in and outlives it.
class Trainer {
 public:
  /// A model with what moves it.
  struct Part {
    Companion trained;
    Optimizer* optimizer;
  };

  Trainer(parallel::DistributedModel& model, Method& method, Optimizer& optimizer,
          const TrainerOptions& options);

  /// @throws core::Error (76) on every rank, before any weight moved, if loss or gradient norm is not finite.
  StepStats train_step();

  /// The model, then the companions.
  const std::vector<Part>& parts() const { return parts_; }
  int64_t steps_done() const { return step_; }
  int64_t tokens_seen() const { return tokens_seen_; }

  /// What a checkpoint of this moment holds: master weights and optimizer state under global names, this
  /// rank's parts; step and counters. For loading, the parts that other ranks answer for are in it, too.
  checkpoint::State state(bool for_loading = false) const;
  /// Takes over what a load has written into the tensors of state(true), and the scalars of that checkpoint.
  void restore(const checkpoint::State& loaded);

 private:
  double forward_backward(const Part& part, const std::vector<data::Batch>& local);

  parallel::DistributedModel& model_;
  Method& method_;
  TrainerOptions options_;
  std::vector<std::unique_ptr<Optimizer>> of_companions_;
  std::vector<Part> parts_;
  int64_t step_ = 0;
  int64_t tokens_seen_ = 0;
};

}  // namespace phalanx::trainer
