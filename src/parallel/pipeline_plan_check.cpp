#include "parallel/pipeline_plan_check.h"

#include <fmt/format.h>

#include <map>
#include <tuple>

#include "core/error.h"

namespace phalanx::parallel {
namespace {

using enum PipelineAction;

using Fault = std::optional<std::string>;

std::string describe(const PipelineStep& step) {
  const char* const what[] = {"forward", "backward", "input backward", "weight backward"};
  return fmt::format("{} of micro-batch {}, chunk {}", what[static_cast<size_t>(step.action)],
                     step.micro_batch, step.chunk);
}

Fault find_shape_fault(const PipelinePlan& plan) {
  if (plan.num_ranks < 1 || plan.chunks_per_rank < 1 || plan.num_micro_batches < 1) {
    return fmt::format("{} ranks, {} chunks per rank and {} micro-batches: each must be at least 1",
                       plan.num_ranks, plan.chunks_per_rank, plan.num_micro_batches);
  }
  if (static_cast<int64_t>(plan.steps.size()) != plan.num_ranks)
    return fmt::format("{} lists of steps for {} ranks", plan.steps.size(), plan.num_ranks);
  for (int64_t rank = 0; rank < plan.num_ranks; ++rank) {
    for (const PipelineStep& step : plan.steps[rank]) {
      if (step.micro_batch >= 0 && step.micro_batch < plan.num_micro_batches && step.chunk >= 0 &&
          step.chunk < plan.chunks_per_rank) {
        continue;
      }
      return fmt::format("rank {}: {} does not exist", rank, describe(step));
    }
  }
  return std::nullopt;
}

/// How far one micro-batch has come on one chunk.
enum class Progress { kNothing, kForwardDone, kInputDone, kAllDone };

/// The progress after `action`; none if it may not come now.
std::optional<Progress> advance(Progress progress, PipelineAction action) {
  if (progress == Progress::kNothing && action == kForward) return Progress::kForwardDone;
  if (progress == Progress::kForwardDone && action == kBackward) return Progress::kAllDone;
  if (progress == Progress::kForwardDone && action == kBackwardInput) return Progress::kInputDone;
  if (progress == Progress::kInputDone && action == kBackwardWeight) return Progress::kAllDone;
  return std::nullopt;
}

/// Each micro-batch goes through each chunk of the rank once, and weight gradients come in order.
Fault find_list_fault(const PipelinePlan& plan, int64_t rank) {
  const auto m = static_cast<size_t>(plan.num_micro_batches);
  const auto v = static_cast<size_t>(plan.chunks_per_rank);
  std::vector<std::vector<Progress>> progress(v, std::vector<Progress>(m, Progress::kNothing));
  std::vector<int64_t> next_gradient(v, 0);  // the micro-batch whose weight gradient comes next
  for (const PipelineStep& step : plan.steps[rank]) {
    Progress& now = progress[step.chunk][step.micro_batch];
    const std::optional<Progress> then = advance(now, step.action);
    if (!then) return fmt::format("rank {}: {} comes twice or too early", rank, describe(step));
    now = *then;
    if (now == Progress::kAllDone && step.micro_batch != next_gradient[step.chunk]++) {
      return fmt::format("rank {}: {} breaks the order of weight gradients, micro-batch {} is next", rank,
                         describe(step), next_gradient[step.chunk] - 1);
    }
  }
  for (size_t chunk = 0; chunk < v; ++chunk) {
    for (size_t micro_batch = 0; micro_batch < m; ++micro_batch) {
      if (progress[chunk][micro_batch] == Progress::kAllDone) continue;
      const char* const missing[] = {"forward", "backward", "weight backward"};
      return fmt::format("rank {}: the {} of micro-batch {}, chunk {} is missing", rank,
                         missing[static_cast<size_t>(progress[chunk][micro_batch])], micro_batch, chunk);
    }
  }
  return std::nullopt;
}

Fault find_deadlock(const PipelinePlan& plan) {
  std::vector<size_t> reached(plan.steps.size(), 0);
  for (const PipelinePosition& position : run_order(plan)) ++reached[position.rank];
  for (int64_t rank = 0; rank < plan.num_ranks; ++rank) {
    if (reached[rank] == plan.steps[rank].size()) continue;
    return fmt::format("deadlock: rank {} waits forever before the {}", rank,
                       describe(plan.steps[rank][reached[rank]]));
  }
  return std::nullopt;
}

/// From rank, to rank, and the payload or 0 if both share the channel.
using Channel = std::tuple<int64_t, int64_t, int>;

struct Traffic {
  std::vector<PipelineMessage> sent, awaited;  // in the order of the sender's and of the receiver's list
};

std::map<Channel, Traffic> channels(const PipelinePlan& plan, bool one_per_payload) {
  std::map<Channel, Traffic> traffic;
  const auto add = [&](const std::optional<PipelineMessage>& message,
                       std::vector<PipelineMessage> Traffic::*list) {
    if (!message) return;
    const int64_t from = plan.rank_of(message->from_stage), to = plan.rank_of(message->to_stage);
    if (from == to) return;
    const int payload = one_per_payload ? static_cast<int>(message->payload) : 0;
    (traffic[{from, to, payload}].*list).push_back(*message);
  };
  for (int64_t rank = 0; rank < plan.num_ranks; ++rank) {
    for (const PipelineStep& step : plan.steps[rank]) {
      add(plan.input_of(rank, step), &Traffic::awaited);
      add(plan.output_of(rank, step), &Traffic::sent);
    }
  }
  return traffic;
}

Fault find_overtaking(const PipelinePlan& plan, bool one_channel_per_payload) {
  for (const auto& [channel, traffic] : channels(plan, one_channel_per_payload)) {
    // No message is missing on either side: the lists are complete by now.
    for (size_t i = 0; i < traffic.sent.size(); ++i) {
      if (traffic.sent[i] == traffic.awaited[i]) continue;
      return fmt::format(
          "rank {} sends micro-batch {} for stage {} when rank {} awaits micro-batch {} for {}",
          std::get<0>(channel), traffic.sent[i].micro_batch, traffic.sent[i].to_stage, std::get<1>(channel),
          traffic.awaited[i].micro_batch, traffic.awaited[i].to_stage);
    }
  }
  return std::nullopt;
}

}  // namespace

Fault find_pipeline_plan_fault(const PipelinePlan& plan) {
  if (Fault fault = find_shape_fault(plan)) return fault;
  for (int64_t rank = 0; rank < plan.num_ranks; ++rank)
    if (Fault fault = find_list_fault(plan, rank)) return fault;
  if (Fault fault = find_deadlock(plan)) return fault;
  return find_overtaking(plan, /*one_channel_per_payload=*/true);
}

void check_pipeline_plan(const PipelinePlan& plan) {
  const Fault fault = find_pipeline_plan_fault(plan);
  if (!fault) return;
  core::fail(core::ExitCode::kBug, "pipeline plan {} of {} ranks, {} chunks each, {} micro-batches: {}",
             name(plan.kind), plan.num_ranks, plan.chunks_per_rank, plan.num_micro_batches, *fault);
}

bool needs_message_tags(const PipelinePlan& plan) {
  return find_overtaking(plan, /*one_channel_per_payload=*/false).has_value();
}

std::vector<PipelinePosition> run_order(const PipelinePlan& plan) {
  const auto stages = static_cast<size_t>(plan.num_stages());
  const auto m = static_cast<size_t>(plan.num_micro_batches);
  // Whether the message to a stage has been sent, by payload.
  std::vector<bool> sent[2] = {std::vector<bool>(stages * m), std::vector<bool>(stages * m)};
  const auto is_sent = [&](const PipelineMessage& message) {
    return sent[static_cast<size_t>(message.payload)][message.to_stage * m + message.micro_batch];
  };
  std::vector<PipelinePosition> order;
  std::vector<size_t> next(plan.steps.size(), 0);
  for (bool moved = true; moved;) {
    moved = false;
    for (int64_t rank = 0; rank < plan.num_ranks; ++rank) {
      for (; next[rank] < plan.steps[rank].size(); ++next[rank]) {
        const PipelineStep& step = plan.steps[rank][next[rank]];
        const auto input = plan.input_of(rank, step);
        if (input && !is_sent(*input)) break;
        if (const auto output = plan.output_of(rank, step)) is_sent(*output) = true;
        order.push_back({rank, next[rank]});
        moved = true;
      }
    }
  }
  return order;
}

}  // namespace phalanx::parallel
