#include "parallel/pipeline_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"

namespace phalanx::parallel {
namespace {

using Kind = PipelineScheduleKind;

PipelineTiming timing(Kind kind, int64_t p, int64_t v, int64_t m, const PipelineCosts& costs = {}) {
  return simulate_pipeline(make_pipeline_plan(kind, p, v, m), costs);
}

/// Costs of one chunk out of v whose rank takes F = 1, B = 1.25, W = 0.75 in all: exact in binary.
PipelineCosts uneven(double v) {
  return {.forward = 1 / v, .backward_input = 1.25 / v, .backward_weight = 0.75 / v};
}

double most(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

TEST(PipelineSimulation, TimesTwoRanksAsByHand) {
  const PipelineTiming t = timing(Kind::k1F1B, 2, 1, 2,
                                  {.forward = 1, .backward_input = 2, .backward_weight = 3, .transfer = 0.5});
  const std::vector<std::pair<double, double>> expected[2] = {
      {{0, 1}, {1, 2}, {8, 13}, {14, 19}},                 // F0 F1 B0 B1
      {{1.5, 2.5}, {2.5, 7.5}, {7.5, 8.5}, {8.5, 13.5}}};  // F0 B0 F1 B1
  for (size_t rank = 0; rank < 2; ++rank) {
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_DOUBLE_EQ(t.steps[rank][i].start, expected[rank][i].first) << rank << " " << i;
      EXPECT_DOUBLE_EQ(t.steps[rank][i].end, expected[rank][i].second) << rank << " " << i;
    }
  }
  EXPECT_DOUBLE_EQ(t.makespan, 19);
  EXPECT_DOUBLE_EQ(t.longest_span, 19);
  EXPECT_DOUBLE_EQ(t.bubble_share, 1 - 12.0 / 19);
}

TEST(PipelineSimulation, GPipeAnd1F1BAreIdleForTheirKnownShare) {
  for (const Kind kind : {Kind::kGPipe, Kind::k1F1B}) {
    for (int64_t p = 1; p <= 8; ++p) {
      for (int64_t m = 1; m <= 24; ++m) {
        const double share = static_cast<double>(p - 1) / static_cast<double>(m + p - 1);
        EXPECT_NEAR(timing(kind, p, 1, m).total_idle_share, share, 1e-12) << p << " " << m;
        EXPECT_NEAR(timing(kind, p, 1, m, uneven(1)).total_idle_share, share, 1e-12) << p << " " << m;
      }
    }
  }
}

TEST(PipelineSimulation, InterleavingDividesTheBubbleByTheNumberOfChunks) {
  for (int64_t v = 1; v <= 4; ++v) {
    for (int64_t p = 1; p <= 8; ++p) {
      for (int64_t m = p; m <= 24; m += p) {
        const double ideal = 3.0 * static_cast<double>(m * v);
        EXPECT_NEAR(timing(Kind::kInterleaved1F1B, p, v, m).makespan / ideal - 1,
                    static_cast<double>(p - 1) / static_cast<double>(v * m), 1e-12)
            << p << " " << v << " " << m;
      }
    }
  }
}

TEST(PipelineSimulation, InterleavingBeats1F1BForAnyNumberOfMicroBatches) {
  for (int64_t v = 2; v <= 4; ++v) {
    const PipelineCosts costs = uneven(static_cast<double>(v));
    for (int64_t p = 2; p <= 8; ++p) {
      for (int64_t m = 1; m <= 24; ++m) {
        const double makespan = timing(Kind::kInterleaved1F1B, p, v, m, costs).makespan;
        const int64_t padded = (m + p - 1) / p * p;
        EXPECT_LE(makespan, timing(Kind::kInterleaved1F1B, p, v, padded, costs).makespan + 1e-9);
        EXPECT_LE(makespan, timing(Kind::k1F1B, p, 1, m, uneven(1)).makespan + 1e-9)
            << p << " " << v << " " << m;
      }
    }
  }
}

TEST(PipelineSimulation, ZbH1HasAThirdOfTheBubbleOf1F1B) {
  for (int64_t p = 1; p <= 8; ++p) {
    for (int64_t m = p; m <= 24; ++m) {
      const double third = (timing(Kind::k1F1B, p, 1, m).makespan - 3.0 * static_cast<double>(m)) / 3;
      EXPECT_DOUBLE_EQ(timing(Kind::kZeroBubbleH1, p, 1, m).makespan, 3.0 * static_cast<double>(m) + third);
      // (p-1)(F+B-W) where they differ.
      const double bubble =
          timing(Kind::kZeroBubbleH1, p, 1, m, uneven(1)).makespan - 3.0 * static_cast<double>(m);
      EXPECT_NEAR(bubble, 1.5 * static_cast<double>(p - 1), 1e-9) << p << " " << m;
    }
    for (int64_t m = 1; m < p; ++m)
      EXPECT_DOUBLE_EQ(timing(Kind::kZeroBubbleH1, p, 1, m).makespan, static_cast<double>(2 * m + 2 * p - 1));
  }
}

TEST(PipelineSimulation, ZbVHasNoBubbleFromTwiceAsManyMicroBatchesAsRanksOn) {
  for (int64_t p = 1; p <= 8; ++p) {
    for (int64_t m = std::max<int64_t>(1, 2 * p - 1); m <= 24; ++m) {
      const PipelineTiming t = timing(Kind::kZeroBubbleV, p, 2, m);
      EXPECT_DOUBLE_EQ(t.bubble_share, 0) << p << " " << m;
      EXPECT_DOUBLE_EQ(t.makespan, static_cast<double>(6 * m + p - 1)) << p << " " << m;
    }
  }
}

TEST(PipelineSimulation, ZbVTakesTheShortestTimeForFewMicroBatches) {
  for (int64_t p = 1; p <= 8; ++p) {
    for (int64_t m = 1; m <= p; ++m) {
      EXPECT_DOUBLE_EQ(timing(Kind::kZeroBubbleV, p, 2, m).makespan,
                       static_cast<double>(std::max(4 * m + 3 * p - 1, 2 * m + 4 * p - 1)));
    }
    for (int64_t m = p + 1; m < 2 * p - 1; ++m) {
      EXPECT_DOUBLE_EQ(timing(Kind::kZeroBubbleV, p, 2, m).makespan,
                       static_cast<double>(6 * m + p - 1 + (2 * p - 1 - m)));
    }
  }
}

TEST(PipelineSimulation, ZeroBubblesStaySmallWhenCostsDifferAndMessagesTakeTime) {
  PipelineCosts whole = uneven(1), half = uneven(2);
  whole.transfer = half.transfer = 0.05;
  for (int64_t p = 2; p <= 8; ++p) {
    const auto bubble = [&](Kind kind, int64_t m) {
      return kind == Kind::kZeroBubbleV
                 ? timing(kind, p, 2, m, half).makespan - 3.0 * static_cast<double>(m)
                 : timing(kind, p, 1, m, whole).makespan - 3.0 * static_cast<double>(m);
    };
    EXPECT_LT(bubble(Kind::kZeroBubbleV, 2 * p), bubble(Kind::kZeroBubbleH1, 2 * p));
    EXPECT_LT(bubble(Kind::kZeroBubbleH1, 2 * p), bubble(Kind::k1F1B, 2 * p));
    // Uneven costs are paid for once, at both ends, and not by every micro-batch.
    EXPECT_NEAR(bubble(Kind::kZeroBubbleV, 8 * p), bubble(Kind::kZeroBubbleV, 2 * p), 1e-9);
  }
}

TEST(PipelineSimulation, LiveActivationsAreWhatEachScheduleIsKnownFor) {
  for (int64_t p = 1; p <= 8; ++p) {
    for (int64_t m = 1; m <= 24; ++m) {
      const auto peak = [&](Kind kind, int64_t v) { return most(timing(kind, p, v, m).peak_activations); };
      const auto limit = static_cast<double>(std::min(p, m));
      EXPECT_EQ(peak(Kind::kGPipe, 1), static_cast<double>(m));
      EXPECT_EQ(peak(Kind::k1F1B, 1), limit);
      EXPECT_EQ(peak(Kind::kZeroBubbleH1, 1), limit);
      EXPECT_LE(peak(Kind::kZeroBubbleV, 2), limit);
      for (int64_t v = 2; v <= 4; ++v) {
        const double full =
            static_cast<double>(p) * (1 + static_cast<double>(p - 1) / static_cast<double>(p * v));
        EXPECT_LE(peak(Kind::kInterleaved1F1B, v), full + 1e-12) << p << " " << v << " " << m;
        if (m >= 2 * p) {
          EXPECT_NEAR(peak(Kind::kInterleaved1F1B, v), full, 1e-12) << p << " " << v << " " << m;
        }
      }
    }
  }
}

TEST(PipelineSimulation, TheFirstRankOf1F1BHoldsTheMost) {
  EXPECT_EQ(timing(Kind::k1F1B, 4, 1, 8).peak_activations, (std::vector<double>{4, 3, 2, 1}));
  EXPECT_EQ(timing(Kind::kZeroBubbleH1, 4, 1, 8).peak_activations, (std::vector<double>{4, 4, 4, 4}));
}

TEST(PipelineSimulation, ASlowStageKeepsTheOthersWaiting) {
  const PipelineTiming t = timing(Kind::k1F1B, 2, 1, 8, {.stage_scale = {1, 2}});
  EXPECT_DOUBLE_EQ(t.makespan, 8 * 6 + 3);
  EXPECT_DOUBLE_EQ(t.idle_share[0], 1 - 24.0 / 51);
  EXPECT_DOUBLE_EQ(t.idle_share[1], 1 - 48.0 / 51);
  EXPECT_DOUBLE_EQ(t.total_idle_share, 1 - 72.0 / 102);
  EXPECT_THROW(timing(Kind::k1F1B, 2, 1, 8, {.stage_scale = {1}}), core::Error);
}

TEST(PipelineSimulation, RefusesABrokenPlan) {
  PipelinePlan plan = make_pipeline_plan(Kind::k1F1B, 2, 1, 2);
  plan.steps[1].pop_back();
  EXPECT_THROW(simulate_pipeline(plan), core::Error);
}

}  // namespace
}  // namespace phalanx::parallel
