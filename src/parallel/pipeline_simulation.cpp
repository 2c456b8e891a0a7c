#include "parallel/pipeline_simulation.h"

#include <algorithm>

#include "core/error.h"
#include "parallel/pipeline_plan_check.h"

namespace phalanx::parallel {
namespace {

using enum PipelineAction;

double cost_of(const PipelinePlan& plan, const PipelineCosts& costs, int64_t rank, const PipelineStep& step) {
  const double scale = costs.stage_scale.empty() ? 1 : costs.stage_scale[plan.stage_of(rank, step.chunk)];
  switch (step.action) {
    case kForward:
      return scale * costs.forward;
    case kBackward:
      return scale * (costs.backward_input + costs.backward_weight);
    case kBackwardInput:
      return scale * costs.backward_input;
    case kBackwardWeight:
      break;
  }
  return scale * costs.backward_weight;
}

/// When each message arrives at its stage.
class Arrivals {
 public:
  explicit Arrivals(const PipelinePlan& plan) : num_micro_batches_(plan.num_micro_batches) {
    for (auto& times : times_) times.resize(plan.num_stages() * num_micro_batches_);
  }
  double& of(const PipelineMessage& message) {
    return times_[static_cast<size_t>(message.payload)]
                 [message.to_stage * num_micro_batches_ + message.micro_batch];
  }

 private:
  int64_t num_micro_batches_;
  std::vector<double> times_[2];  // by payload
};

/// Fills timing.steps.
void play(const PipelinePlan& plan, const PipelineCosts& costs, PipelineTiming& timing) {
  Arrivals arrivals(plan);
  for (const auto& list : plan.steps) timing.steps.emplace_back(list.size());
  std::vector<double> free_from(plan.steps.size(), 0);
  for (const auto& [rank, index] : run_order(plan)) {
    const PipelineStep& step = plan.steps[rank][index];
    const auto input = plan.input_of(rank, step);
    const double start = std::max(free_from[rank], input ? arrivals.of(*input) : 0);
    const double end = start + cost_of(plan, costs, rank, step);
    if (const auto output = plan.output_of(rank, step)) {
      const bool stays = plan.rank_of(output->to_stage) == rank;
      arrivals.of(*output) = end + (stays ? 0 : costs.transfer);
    }
    timing.steps[rank][index] = {start, end};
    free_from[rank] = end;
  }
}

double peak_activations(const PipelinePlan& plan, const std::vector<PipelineStep>& steps) {
  int64_t live = 0, peak = 0;  // in chunks
  for (const PipelineStep& step : steps) {
    if (step.action == kForward) peak = std::max(peak, ++live);
    if (step.action == kBackward || step.action == kBackwardWeight) --live;
  }
  return static_cast<double>(peak) / static_cast<double>(plan.chunks_per_rank);
}

}  // namespace

PipelineTiming simulate_pipeline(const PipelinePlan& plan, const PipelineCosts& costs) {
  check_pipeline_plan(plan);
  if (!costs.stage_scale.empty() && static_cast<int64_t>(costs.stage_scale.size()) != plan.num_stages()) {
    core::fail(core::ExitCode::kBug, "stage_scale has {} factors for {} stages", costs.stage_scale.size(),
               plan.num_stages());
  }
  PipelineTiming timing;
  play(plan, costs, timing);
  for (const auto& intervals : timing.steps)
    timing.makespan = std::max(timing.makespan, intervals.back().end);

  for (const auto& intervals : timing.steps) {
    double busy = 0;
    for (const auto& [start, end] : intervals) busy += end - start;
    timing.idle_share.push_back(1 - busy / timing.makespan);
    timing.total_idle_share += timing.idle_share.back() / static_cast<double>(plan.num_ranks);
    const double span = intervals.back().end - intervals.front().start;
    if (span <= timing.longest_span) continue;
    timing.longest_span = span;
    timing.bubble_share = 1 - busy / span;
  }
  for (const auto& list : plan.steps) timing.peak_activations.push_back(peak_activations(plan, list));
  return timing;
}

}  // namespace phalanx::parallel
