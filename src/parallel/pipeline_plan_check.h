#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel/pipeline_plan.h"

namespace phalanx::parallel {

/// What is wrong with the plan, in one sentence; none if all of this holds:
///   - every (micro-batch, chunk) of a rank has one kForward, then one kBackward, or one kBackwardInput and
///   one
///     later kBackwardWeight;
///   - each chunk's weight gradients come in the order of the micro-batches;
///   - when every rank runs its list in order, waiting for each step's input and never for a receiver, all of
///     them come to the end;
///   - between two ranks, activations are awaited in the order in which they are sent, and so are gradients.
std::optional<std::string> find_pipeline_plan_fault(const PipelinePlan& plan);

/// @throws core::Error (kBug) with that sentence.
void check_pipeline_plan(const PipelinePlan& plan);

/// True if some rank awaits an activation and a gradient of the same sender in another order than they were
/// sent. Such a plan (zb_v is one) needs a tag or a channel for each payload; or the receiver, who has the
/// whole plan, takes messages in the sender's order and puts early ones aside.
bool needs_message_tags(const PipelinePlan& plan);

/// The step `plan.steps[rank][index]`.
struct PipelinePosition {
  int64_t rank = 0;
  size_t index = 0;
};

/// All steps in an order in which each comes after those that it needs. If ranks wait for each other forever,
/// only the steps that they reach.
std::vector<PipelinePosition> run_order(const PipelinePlan& plan);

}  // namespace phalanx::parallel
