#include "trainer/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace phalanx::trainer {
namespace {

TEST(LearningRate, WarmsUpFromZeroAndDecaysLinearly) {
  const ScheduleOptions options{.name = "linear", .warmup_steps = 4};
  EXPECT_EQ(learning_rate(options, 1.0, 0, 10), 0.0);
  EXPECT_EQ(learning_rate(options, 1.0, 2, 10), 0.5);
  EXPECT_EQ(learning_rate(options, 1.0, 4, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 1.0, 7, 10), 0.5);
}

TEST(LearningRate, CosineEndsAtItsMinimum) {
  const ScheduleOptions options{.name = "cosine", .min_learning_rate = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(options, 1.0, 0, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 1.0, 50, 100), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate(options, 1.0, 100, 100), 0.1);
}

TEST(LearningRate, WsdStaysAtThePeakUntilTheLastSteps) {
  const ScheduleOptions options{.name = "wsd", .decay_steps = 10};
  EXPECT_EQ(learning_rate(options, 2.0, 89, 100), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 2.0, 95, 100), 1.0);
}

TEST(LearningRate, AnUnknownCurveListsTheKnownOnes) {
  try {
    learning_rate({.name = "cosin"}, 1.0, 0, 1);
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_STREQ(error.what(), "schedule.name is cosin; known are constant, linear, cosine, wsd");
  }
}

}  // namespace
}  // namespace phalanx::trainer
