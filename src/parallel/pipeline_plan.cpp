#include "parallel/pipeline_plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>

#include "core/error.h"
#include "core/suggest.h"
#include "parallel/pipeline_plan_check.h"
#include "parallel/pipeline_plan_zero_bubble.h"

namespace phalanx::parallel {
namespace {

using enum PipelineAction;
using enum PipelinePayload;

// In the order of the enumeration.
constexpr std::array<std::string_view, 5> kNames = {"gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v"};
static_assert(kNames.size() == static_cast<size_t>(PipelineScheduleKind::kZeroBubbleV) + 1);

void check_arguments(PipelineScheduleKind kind, int64_t num_ranks, int64_t chunks_per_rank,
                     int64_t num_micro_batches) {
  using core::ExitCode;
  if (num_ranks < 1) core::fail(ExitCode::kBadConfig, "parallel.pp is {} but must be at least 1", num_ranks);
  if (num_micro_batches < 1) {
    core::fail(ExitCode::kBadConfig, "a pipeline of {} micro-batches: there must be at least 1",
               num_micro_batches);
  }
  if (kind == PipelineScheduleKind::kInterleaved1F1B) {
    if (chunks_per_rank >= 1) return;
    core::fail(ExitCode::kBadConfig, "parallel.virtual_stages is {} but must be at least 1", chunks_per_rank);
  }
  const int64_t allowed = kind == PipelineScheduleKind::kZeroBubbleV ? 2 : 1;
  if (chunks_per_rank == allowed) return;
  core::fail(ExitCode::kBadConfig,
             "parallel.virtual_stages is {} but must be {} with parallel.pipeline_schedule: {}; "
             "interleaved_1f1b takes any number",
             chunks_per_rank, allowed, name(kind));
}

/// The forwards and the backwards of one rank, each in their order, woven into one list: `warmup` forwards,
/// then a forward and a backward in turn, then the backwards that are left.
std::vector<PipelineStep> weave(const std::vector<PipelineStep>& forwards,
                                const std::vector<PipelineStep>& backwards, size_t warmup) {
  warmup = std::min(warmup, forwards.size());
  std::vector<PipelineStep> steps(forwards.begin(), forwards.begin() + static_cast<int64_t>(warmup));
  for (size_t i = 0; i < backwards.size(); ++i) {
    if (warmup + i < forwards.size()) steps.push_back(forwards[warmup + i]);
    steps.push_back(backwards[i]);
  }
  return steps;
}

/// All steps of one rank with one chunk: `warmup` forwards before one forward and one backward alternate.
std::vector<PipelineStep> one_chunk(int64_t num_micro_batches, int64_t warmup) {
  std::vector<PipelineStep> forwards, backwards;
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    forwards.push_back({kForward, i, 0});
    backwards.push_back({kBackward, i, 0});
  }
  return weave(forwards, backwards, static_cast<size_t>(warmup));
}

/// Micro-batches go in groups of p: all of a group through chunk 0, then all of it through chunk 1, ...,
/// because just when the last of the group has left this rank's chunk, the first comes back from the last
/// rank. Backwards meet the chunks in reverse. `m` must be a multiple of p.
std::vector<PipelineStep> interleaved(int64_t p, int64_t v, int64_t m, int64_t rank) {
  const int64_t group_steps = p * v;
  std::vector<PipelineStep> forwards, backwards;
  for (int64_t k = 0; k < m * v; ++k) {
    const int64_t micro_batch = k / group_steps * p + k % p;
    const int64_t chunk = k % group_steps / p;
    forwards.push_back({kForward, micro_batch, chunk});
    backwards.push_back({kBackward, micro_batch, v - 1 - chunk});
  }
  // The first forward of the last chunk is number (v - 1) p. From here to the last rank and back, one step
  // each, it is 2 (p - 1 - rank) more until its gradient is there.
  const int64_t warmup = (v - 1) * p + 2 * (p - 1 - rank);
  return weave(forwards, backwards, static_cast<size_t>(warmup));
}

/// The fewest micro-batches, at least those of the plan, for which its kind has a pattern.
int64_t padded_micro_batches(const PipelinePlan& plan) {
  const int64_t p = plan.num_ranks, m = plan.num_micro_batches;
  if (plan.kind == PipelineScheduleKind::kInterleaved1F1B && plan.chunks_per_rank > 1)
    return (m + p - 1) / p * p;
  if (plan.kind == PipelineScheduleKind::kZeroBubbleV && m > p) return std::max(m, 2 * p - 1);
  return m;
}

std::vector<PipelineStep> steps_of(const PipelinePlan& plan, int64_t rank, int64_t m) {
  const int64_t p = plan.num_ranks, v = plan.chunks_per_rank;
  switch (plan.kind) {
    case PipelineScheduleKind::kGPipe:
      return one_chunk(m, /*warmup=*/m);
    case PipelineScheduleKind::k1F1B:
      return one_chunk(m, /*warmup=*/p - 1 - rank);
    case PipelineScheduleKind::kInterleaved1F1B:
      // With one chunk it is 1F1B, which warms up with half as many forwards.
      return v == 1 ? one_chunk(m, /*warmup=*/p - 1 - rank) : interleaved(p, v, m, rank);
    case PipelineScheduleKind::kZeroBubbleH1:
      return zero_bubble_h1_steps(p, m, rank);
    case PipelineScheduleKind::kZeroBubbleV:
      return zero_bubble_v_steps(p, m, rank);
  }
  core::fail(core::ExitCode::kBug, "pipeline schedule {} has no steps", name(plan.kind));
}

}  // namespace

std::string_view name(PipelineScheduleKind kind) {
  const auto index = static_cast<size_t>(kind);
  if (index >= kNames.size()) core::fail(core::ExitCode::kBug, "pipeline schedule {} does not exist", index);
  return kNames[index];
}

PipelineScheduleKind parse_pipeline_schedule(std::string_view text) {
  const auto found = std::find(kNames.begin(), kNames.end(), text);
  if (found != kNames.end()) return static_cast<PipelineScheduleKind>(found - kNames.begin());
  const auto near = core::nearest(text, {kNames.begin(), kNames.end()});
  core::fail(core::ExitCode::kBadConfig, "parallel.pipeline_schedule is {} but must be one of {}{}",
             core::printable(text), fmt::join(kNames, ", "),
             near ? fmt::format("; did you mean {}?", *near) : std::string());
}

int64_t PipelinePlan::stage_of(int64_t rank, int64_t chunk) const {
  if (kind == PipelineScheduleKind::kZeroBubbleV && chunk == 1) return 2 * num_ranks - 1 - rank;
  return chunk * num_ranks + rank;
}

int64_t PipelinePlan::rank_of(int64_t stage) const {
  if (kind == PipelineScheduleKind::kZeroBubbleV && stage >= num_ranks) return 2 * num_ranks - 1 - stage;
  return stage % num_ranks;
}

int64_t PipelinePlan::chunk_of(int64_t stage) const {
  return stage / num_ranks;
}

std::optional<PipelineMessage> PipelinePlan::input_of(int64_t rank, const PipelineStep& step) const {
  const int64_t stage = stage_of(rank, step.chunk);
  if (step.action == kBackwardWeight) return std::nullopt;
  if (step.action == kForward) {
    if (stage == 0) return std::nullopt;
    return PipelineMessage{kActivation, step.micro_batch, stage - 1, stage};
  }
  if (stage == num_stages() - 1) return std::nullopt;
  return PipelineMessage{kGradient, step.micro_batch, stage + 1, stage};
}

std::optional<PipelineMessage> PipelinePlan::output_of(int64_t rank, const PipelineStep& step) const {
  const int64_t stage = stage_of(rank, step.chunk);
  if (step.action == kBackwardWeight) return std::nullopt;
  if (step.action == kForward) {
    if (stage == num_stages() - 1) return std::nullopt;
    return PipelineMessage{kActivation, step.micro_batch, stage, stage + 1};
  }
  if (stage == 0) return std::nullopt;
  return PipelineMessage{kGradient, step.micro_batch, stage, stage - 1};
}

PipelinePlan make_pipeline_plan(PipelineScheduleKind kind, int64_t num_ranks, int64_t chunks_per_rank,
                                int64_t num_micro_batches) {
  check_arguments(kind, num_ranks, chunks_per_rank, num_micro_batches);
  PipelinePlan plan{kind, num_ranks, chunks_per_rank, num_micro_batches, {}};
  // A number that the pattern does not know is made up with micro-batches that do not exist, and their steps
  // are dropped: no other step depends on them, so the rest is a valid plan, and no slower. Those in front
  // go, because that shortens the time until all ranks are at work.
  const int64_t padded = padded_micro_batches(plan), missing = padded - num_micro_batches;
  for (int64_t rank = 0; rank < num_ranks; ++rank) {
    std::vector<PipelineStep>& steps = plan.steps.emplace_back(steps_of(plan, rank, padded));
    std::erase_if(steps, [missing](const PipelineStep& step) { return step.micro_batch < missing; });
    for (PipelineStep& step : steps) step.micro_batch -= missing;
  }
  check_pipeline_plan(plan);
  return plan;
}

}  // namespace phalanx::parallel
