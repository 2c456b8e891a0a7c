#pragma once
#include <vector>

#include "parallel/pipeline_plan.h"

namespace phalanx::parallel {

/// Seconds, or any unit, of one micro-batch on one CHUNK (so 1/v of what a rank's layers take). A kBackward
/// takes backward_input + backward_weight.
struct PipelineCosts {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;
  double transfer = 0;  ///< until a message is on the next rank; the sender computes meanwhile
  std::vector<double> stage_scale =
      {};  ///< [p v] factors, where stages are not alike (the loss); empty: all 1
};

struct PipelineTiming {
  struct Interval {
    double start = 0, end = 0;
  };
  std::vector<std::vector<Interval>> steps;  ///< of plan.steps[rank][index]
  double makespan = 0;                       ///< from the first start to the last end of all ranks
  std::vector<double> idle_share;            ///< of each rank, as a share of the makespan
  double total_idle_share = 0;               ///< over all ranks

  /// The same for the rank that is at work for the longest time, from its own first start to its own last
  /// end. Ranks that begin late and end late have no bubble if optimizer steps follow without a common wait;
  /// this is how the zero-bubble papers count.
  double longest_span = 0;
  double bubble_share = 0;

  /// Most micro-batches whose activations each rank holds at once, in units of all layers of the rank: a
  /// chunk is 1/v. They are held from the start of kForward to the end of kBackward or kBackwardWeight; what
  /// kBackwardInput already frees is not counted as freed.
  std::vector<double> peak_activations;
};

/// Plays the plan: each rank begins the next step of its list when it is free and the step's input has
/// arrived.
/// @throws core::Error (kBug) if the plan is not valid or stage_scale has another length.
PipelineTiming simulate_pipeline(const PipelinePlan& plan, const PipelineCosts& costs = {});

}  // namespace phalanx::parallel
