#include "data/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "data_test_util.h"

namespace phalanx::data {
namespace {

std::vector<int64_t> draw(const Sampler& sampler, int64_t begin, int64_t end) {
  std::vector<int64_t> rows;
  for (int64_t i = begin; i < end; ++i) rows.push_back(sampler.sequence_index(i));
  return rows;
}

TEST(Sampler, GivesEveryRowOnceInEachEpochInAnotherOrder) {
  EXPECT_TRUE(rc::check([] {
    const auto rows = *rc::gen::inRange<int64_t>(1, 400);
    const Sampler sampler({{0, rows, 1.0}}, *rc::gen::arbitrary<uint64_t>(), true);
    std::vector<int64_t> all(static_cast<size_t>(rows));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      auto drawn = draw(sampler, epoch * rows, (epoch + 1) * rows);
      std::sort(drawn.begin(), drawn.end());
      RC_ASSERT(drawn == all);
    }
  }));
  const Sampler sampler({{0, 100, 1.0}}, 17, true);
  EXPECT_NE(draw(sampler, 0, 100), draw(sampler, 100, 200));
  EXPECT_NE(draw(sampler, 0, 100), draw(Sampler({{0, 100, 1.0}}, 18, true), 0, 100));
}

TEST(Sampler, KeepsFileOrderWithoutShuffle) {
  const Sampler sampler({{0, 3, 1.0}, {3, 5, 1.0}}, 17, false);
  EXPECT_EQ(draw(sampler, 0, 10), (std::vector<int64_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
}

TEST(Sampler, DrawsSourcesByTheirWeights) {
  for (const bool shuffle : {false, true}) {
    const Sampler sampler({{0, 10, 2.0}, {10, 30, 0.25}, {30, 40, 1.0}}, 17, shuffle);
    ASSERT_EQ(sampler.epoch_size(), 20 + 5 + 10);
    std::map<int64_t, int> count;
    for (const int64_t row : draw(sampler, 0, 4 * 35)) ++count[row];
    for (int64_t row = 0; row < 40; ++row)
      EXPECT_EQ(count[row], row < 10 ? 8 : row < 30 ? 1 : 4) << row << " shuffle " << shuffle;
  }
}

TEST(Sampler, DoesNotDependOnWhatWasDrawnBefore) {
  const Sampler sampler({{0, 1000, 1.0}}, 17, true);
  const auto all = draw(sampler, 0, 5000);
  const auto tail = draw(Sampler({{0, 1000, 1.0}}, 17, true), 3210, 5000);
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), all.begin() + 3210));
}

TEST(Sampler, InterleavesSourcesInTheirSharesOfEveryStretch) {
  EXPECT_TRUE(rc::check([] {
    std::vector<SourceRange> sources;
    int64_t rows = 0;
    for (const int64_t count :
         *rc::gen::nonEmpty(rc::gen::container<std::vector<int64_t>>(rc::gen::inRange<int64_t>(1, 60)))) {
      sources.push_back({rows, rows + count, 1.0});
      rows += count;
    }
    const Sampler sampler(sources, 17, *rc::gen::arbitrary<bool>(), true);
    const auto drawn = draw(sampler, 0, rows);
    for (const SourceRange& source : sources) {
      const double share = static_cast<double>(source.end - source.begin) / static_cast<double>(rows);
      int64_t seen = 0;
      for (int64_t i = 0; i < rows; ++i) {
        seen += drawn[i] >= source.begin && drawn[i] < source.end;
        RC_ASSERT(std::abs(static_cast<double>(seen) - share * static_cast<double>(i + 1)) <=
                  1.0 + static_cast<double>(sources.size()) / 2);
      }
    }
    auto sorted = drawn;
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < rows; ++i) RC_ASSERT(sorted[i] == i);
  }));
  EXPECT_EQ(draw(Sampler({{0, 6, 1.0}, {6, 8, 1.0}}, 17, false, true), 0, 8),
            (std::vector<int64_t>{0, 1, 6, 2, 3, 4, 7, 5}));
}

TEST(Sampler, InterleavesByWeightsAndReachesEveryRow) {
  for (const bool shuffle : {false, true}) {
    const Sampler sampler({{0, 10, 2.0}, {10, 30, 0.25}}, 17, shuffle, true);
    ASSERT_EQ(sampler.epoch_size(), 25);
    std::map<int64_t, int> count;
    for (const int64_t row : draw(sampler, 0, 4 * 25)) ++count[row];
    for (int64_t row = 0; row < 30; ++row) EXPECT_EQ(count[row], row < 10 ? 8 : 1) << row;
  }
}

TEST(Sampler, InterleavesInAnotherOrderOfRowsInEachEpochAndSource) {
  const Sampler sampler({{0, 50, 1.0}, {50, 100, 1.0}}, 17, true, true);
  std::vector<int64_t> first, second;
  for (const int64_t row : draw(sampler, 0, 100)) (row < 50 ? first : second).push_back(row % 50);
  EXPECT_NE(first, second);
  EXPECT_NE(draw(sampler, 0, 100), draw(sampler, 100, 200));
  const auto all = draw(sampler, 0, 300);
  const auto tail = draw(Sampler({{0, 50, 1.0}, {50, 100, 1.0}}, 17, true, true), 123, 300);
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), all.begin() + 123));
}

TEST(Sampler, NeedsASequence) {
  error_of([] { Sampler({}, 17, true); });
  error_of([] { Sampler({{4, 4, 1.0}}, 17, true); });
}

}  // namespace
}  // namespace phalanx::data
