#include "parallel/pipeline_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "parallel/pipeline_plan_check.h"

namespace phalanx::parallel {
namespace {

using enum PipelineAction;
using Kind = PipelineScheduleKind;

constexpr Kind kKinds[] = {Kind::kGPipe, Kind::k1F1B, Kind::kInterleaved1F1B, Kind::kZeroBubbleH1,
                           Kind::kZeroBubbleV};

std::string text(const PipelinePlan& plan) {
  return fmt::format("{} p {} v {} m {}", name(plan.kind), plan.num_ranks, plan.chunks_per_rank,
                     plan.num_micro_batches);
}

/// Every kind with every number of chunks that it allows, up to `max_chunks`.
void for_each_plan(int64_t max_ranks, int64_t max_micro_batches, int64_t max_chunks,
                   const std::function<void(const PipelinePlan&)>& test) {
  for (const Kind kind : kKinds) {
    const bool any = kind == Kind::kInterleaved1F1B;
    const int64_t fewest = any ? 1 : kind == Kind::kZeroBubbleV ? 2 : 1;
    for (int64_t v = fewest; v <= (any ? max_chunks : fewest); ++v)
      for (int64_t p = 1; p <= max_ranks; ++p)
        for (int64_t m = 1; m <= max_micro_batches; ++m) test(make_pipeline_plan(kind, p, v, m));
  }
}

std::string error_of(const std::function<void()>& call, core::ExitCode code) {
  try {
    call();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "no error";
}

TEST(PipelineScheduleKind, IsReadFromItsNameAndWrittenBack) {
  for (const Kind kind : kKinds) EXPECT_EQ(parse_pipeline_schedule(name(kind)), kind);
}

TEST(PipelineScheduleKind, UnknownNamesAreRefusedWithAListOfTheKnownOnes) {
  EXPECT_EQ(
      error_of([] { parse_pipeline_schedule("zbv"); }, core::ExitCode::kBadConfig),
      "parallel.pipeline_schedule is zbv but must be one of gpipe, 1f1b, interleaved_1f1b, zb_h1, zb_v; "
      "did you mean zb_v?");
}

TEST(PipelinePlan, RefusesNumbersThatDoNotSuitTheKind) {
  const auto error = [](Kind kind, int64_t p, int64_t v, int64_t m) {
    return error_of([&] { make_pipeline_plan(kind, p, v, m); }, core::ExitCode::kBadConfig);
  };
  EXPECT_EQ(error(Kind::k1F1B, 0, 1, 1), "parallel.pp is 0 but must be at least 1");
  EXPECT_EQ(error(Kind::k1F1B, 2, 1, 0), "a pipeline of 0 micro-batches: there must be at least 1");
  EXPECT_EQ(error(Kind::kInterleaved1F1B, 2, 0, 4), "parallel.virtual_stages is 0 but must be at least 1");
  EXPECT_EQ(error(Kind::kZeroBubbleV, 2, 3, 4),
            "parallel.virtual_stages is 3 but must be 2 with parallel.pipeline_schedule: zb_v; "
            "interleaved_1f1b takes any number");
  for (const Kind kind : {Kind::kGPipe, Kind::k1F1B, Kind::kZeroBubbleH1})
    EXPECT_NE(error(kind, 2, 2, 4).find("must be 1 with"), std::string::npos);
}

TEST(PipelinePlan, IsValidForEveryKindAndSize) {
  int64_t count = 0;
  for_each_plan(8, 24, 4, [&](const PipelinePlan& plan) {
    EXPECT_EQ(find_pipeline_plan_fault(plan), std::nullopt) << text(plan);
    ++count;
  });
  EXPECT_EQ(count, 8 * 24 * 8);
  for (const Kind kind : kKinds) {
    const int64_t v = kind == Kind::kInterleaved1F1B || kind == Kind::kZeroBubbleV ? 2 : 1;
    for (const int64_t m : {1, 31, 32, 33, 63, 64, 200})
      EXPECT_EQ(find_pipeline_plan_fault(make_pipeline_plan(kind, 32, v, m)), std::nullopt);
  }
}

TEST(PipelinePlan, IsTheSameEveryTime) {
  for (const Kind kind : kKinds) {
    const int64_t v = kind == Kind::kInterleaved1F1B || kind == Kind::kZeroBubbleV ? 2 : 1;
    EXPECT_EQ(make_pipeline_plan(kind, 4, v, 7).steps, make_pipeline_plan(kind, 4, v, 7).steps);
  }
}

TEST(PipelinePlan, AddsWeightGradientsInTheOrderOfMicroBatches) {
  for_each_plan(8, 24, 4, [](const PipelinePlan& plan) {
    for (const auto& list : plan.steps) {
      std::vector<std::vector<int64_t>> gradients(plan.chunks_per_rank), inputs(plan.chunks_per_rank);
      for (const PipelineStep& step : list) {
        if (step.action == kBackward || step.action == kBackwardWeight)
          gradients[step.chunk].push_back(step.micro_batch);
        if (step.action == kBackward || step.action == kBackwardInput)
          inputs[step.chunk].push_back(step.micro_batch);
      }
      std::vector<int64_t> in_order(plan.num_micro_batches);
      for (int64_t i = 0; i < plan.num_micro_batches; ++i) in_order[i] = i;
      for (int64_t chunk = 0; chunk < plan.chunks_per_rank; ++chunk) {
        EXPECT_EQ(gradients[chunk], in_order) << text(plan);
        EXPECT_EQ(inputs[chunk], in_order) << text(plan);
      }
    }
  });
}

TEST(PipelinePlan, PlacesStagesInALoopOrInAV) {
  for_each_plan(8, 1, 4, [](const PipelinePlan& plan) {
    for (int64_t stage = 0; stage < plan.num_stages(); ++stage)
      EXPECT_EQ(plan.stage_of(plan.rank_of(stage), plan.chunk_of(stage)), stage) << text(plan);
  });
  const PipelinePlan loop = make_pipeline_plan(Kind::kInterleaved1F1B, 4, 3, 4);
  EXPECT_EQ(loop.stage_of(1, 2), 9);
  const PipelinePlan v = make_pipeline_plan(Kind::kZeroBubbleV, 4, 2, 4);
  EXPECT_EQ(v.stage_of(0, 0), 0);
  EXPECT_EQ(v.stage_of(0, 1), 7);
  EXPECT_EQ(v.stage_of(3, 0), 3);
  EXPECT_EQ(v.stage_of(3, 1), 4);
}

TEST(PipelinePlan, NamesTheMessagesBeforeAndAfterAStep) {
  const PipelinePlan plan = make_pipeline_plan(Kind::kZeroBubbleV, 2, 2, 4);  // stages 0 3 | 1 2
  using enum PipelinePayload;
  EXPECT_EQ(plan.input_of(0, {kForward, 3, 0}), std::nullopt);
  EXPECT_EQ(plan.output_of(0, {kForward, 3, 0}), (PipelineMessage{kActivation, 3, 0, 1}));
  EXPECT_EQ(plan.input_of(1, {kForward, 3, 1}), (PipelineMessage{kActivation, 3, 1, 2}));
  EXPECT_EQ(plan.output_of(0, {kForward, 3, 1}), std::nullopt);
  EXPECT_EQ(plan.input_of(0, {kBackwardInput, 3, 1}), std::nullopt);
  EXPECT_EQ(plan.output_of(0, {kBackwardInput, 3, 1}), (PipelineMessage{kGradient, 3, 3, 2}));
  EXPECT_EQ(plan.input_of(1, {kBackwardInput, 3, 0}), (PipelineMessage{kGradient, 3, 2, 1}));
  EXPECT_EQ(plan.output_of(0, {kBackwardInput, 3, 0}), std::nullopt);
  EXPECT_EQ(plan.input_of(1, {kBackwardWeight, 3, 0}), std::nullopt);
  EXPECT_EQ(plan.output_of(1, {kBackwardWeight, 3, 0}), std::nullopt);
}

/// Runs all ranks, one step of each in turn, over queues; false if they come to a standstill or a queue's
/// first message is not the one that is awaited. Ranks wait for messages and never for receivers.
bool runs_over_queues(const PipelinePlan& plan, bool one_queue_per_payload) {
  std::map<std::tuple<int64_t, int64_t, bool>, std::deque<PipelineMessage>> queues;
  const auto queue = [&](const PipelineMessage& message) -> std::deque<PipelineMessage>& {
    const int64_t from = plan.rank_of(message.from_stage), to = plan.rank_of(message.to_stage);
    // What stays on a rank is looked up there, so it needs no common order.
    return queues[{from, to,
                   (one_queue_per_payload || from == to) && message.payload == PipelinePayload::kGradient}];
  };
  std::vector<size_t> next(plan.steps.size(), 0);
  for (bool moved = true; moved;) {
    moved = false;
    for (int64_t rank = 0; rank < plan.num_ranks; ++rank) {
      if (next[rank] == plan.steps[rank].size()) continue;
      const PipelineStep& step = plan.steps[rank][next[rank]];
      if (const auto input = plan.input_of(rank, step)) {
        if (plan.rank_of(input->to_stage) != rank) return false;
        auto& waiting = queue(*input);
        if (waiting.empty()) continue;
        const auto found = plan.rank_of(input->from_stage) == rank
                               ? std::find(waiting.begin(), waiting.end(), *input)
                               : waiting.begin();
        if (found == waiting.end() || *found != *input) return false;
        waiting.erase(found);
      }
      if (const auto output = plan.output_of(rank, step)) queue(*output).push_back(*output);
      ++next[rank];
      moved = true;
    }
  }
  for (int64_t rank = 0; rank < plan.num_ranks; ++rank)
    if (next[rank] < plan.steps[rank].size()) return false;
  return std::all_of(queues.begin(), queues.end(), [](const auto& entry) { return entry.second.empty(); });
}

TEST(PipelinePlan, RunsOverOneQueuePerPayloadAndAllButZbVOverOneAlone) {
  for_each_plan(8, 24, 4, [](const PipelinePlan& plan) {
    EXPECT_TRUE(runs_over_queues(plan, /*one_queue_per_payload=*/true)) << text(plan);
    EXPECT_EQ(runs_over_queues(plan, /*one_queue_per_payload=*/false), !needs_message_tags(plan))
        << text(plan);
    EXPECT_TRUE(plan.kind == Kind::kZeroBubbleV || !needs_message_tags(plan)) << text(plan);
  });
  EXPECT_TRUE(needs_message_tags(make_pipeline_plan(Kind::kZeroBubbleV, 4, 2, 8)));
}

TEST(PipelinePlanCheck, FindsEveryMissingAndEveryDoubledStep) {
  for_each_plan(3, 4, 2, [](const PipelinePlan& plan) {
    for (size_t rank = 0; rank < plan.steps.size(); ++rank) {
      for (size_t i = 0; i < plan.steps[rank].size(); ++i) {
        PipelinePlan missing = plan, doubled = plan;
        missing.steps[rank].erase(missing.steps[rank].begin() + static_cast<int64_t>(i));
        doubled.steps[rank].push_back(plan.steps[rank][i]);
        EXPECT_NE(find_pipeline_plan_fault(missing), std::nullopt) << text(plan);
        EXPECT_NE(find_pipeline_plan_fault(doubled), std::nullopt) << text(plan);
      }
    }
  });
}

/// A plan of one chunk per rank, written as F B for kForward and kBackward, I W for the split ones.
PipelinePlan plan_of(int64_t num_micro_batches, const std::vector<std::vector<std::string>>& ranks) {
  PipelinePlan plan{Kind::k1F1B, static_cast<int64_t>(ranks.size()), 1, num_micro_batches, {}};
  for (const auto& words : ranks) {
    auto& list = plan.steps.emplace_back();
    for (const std::string& word : words) {
      const auto action = static_cast<PipelineAction>(std::string("FBIW").find(word[0]));
      list.push_back({action, std::stoll(word.substr(1)), 0});
    }
  }
  return plan;
}

std::string fault(const PipelinePlan& plan) {
  return find_pipeline_plan_fault(plan).value_or("none");
}

TEST(PipelinePlanCheck, TellsWhatIsWrong) {
  EXPECT_EQ(fault(plan_of(2, {{"F0", "F1", "B0", "B1"}, {"F0", "B0", "F1", "B1"}})), "none");
  EXPECT_EQ(
      fault(plan_of(2, {{"F0", "F1", "I0", "B1", "W0"}, {"F0", "B0", "F1", "B1"}})),
      "rank 0: backward of micro-batch 1, chunk 0 breaks the order of weight gradients, micro-batch 0 is "
      "next");
  EXPECT_EQ(fault(plan_of(1, {{"F0", "W0", "I0"}})),
            "rank 0: weight backward of micro-batch 0, chunk 0 comes twice or too early");
  EXPECT_EQ(fault(plan_of(1, {{"F0", "I0"}})),
            "rank 0: the weight backward of micro-batch 0, chunk 0 is missing");
  EXPECT_EQ(fault(plan_of(2, {{"F0", "B0", "F1"}})),
            "rank 0: the backward of micro-batch 1, chunk 0 is missing");
  EXPECT_EQ(fault(plan_of(2, {{"F0", "B0"}})), "rank 0: the forward of micro-batch 1, chunk 0 is missing");
  EXPECT_EQ(fault(plan_of(1, {{"F0", "B0", "F1"}})),
            "rank 0: forward of micro-batch 1, chunk 0 does not exist");
  EXPECT_EQ(fault(plan_of(0, {{}})),
            "1 ranks, 1 chunks per rank and 0 micro-batches: each must be at least 1");
  PipelinePlan short_one = plan_of(1, {{"F0", "B0"}});
  short_one.num_ranks = 2;
  EXPECT_EQ(fault(short_one), "1 lists of steps for 2 ranks");
}

TEST(PipelinePlanCheck, FindsADeadlock) {
  // Rank 0 wants a gradient before it sends micro-batch 1, rank 1 wants micro-batch 1 before it sends one.
  EXPECT_EQ(fault(plan_of(2, {{"F0", "B0", "F1", "B1"}, {"F0", "F1", "B0", "B1"}})),
            "deadlock: rank 0 waits forever before the backward of micro-batch 0, chunk 0");
}

TEST(PipelinePlanCheck, FindsMessagesThatOvertakeEachOther) {
  EXPECT_EQ(fault(plan_of(2, {{"F0", "F1", "B0", "B1"}, {"F1", "F0", "B0", "B1"}})),
            "rank 0 sends micro-batch 0 for stage 1 when rank 1 awaits micro-batch 1 for 1");
}

TEST(PipelinePlanCheck, ThrowsOurOwnMistake) {
  EXPECT_EQ(
      error_of([] { check_pipeline_plan(plan_of(1, {{"F0"}})); }, core::ExitCode::kBug),
      "pipeline plan 1f1b of 1 ranks, 1 chunks each, 1 micro-batches: rank 0: the backward of micro-batch "
      "0, chunk 0 is missing");
}

}  // namespace
}  // namespace phalanx::parallel
