#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "core/error.h"

namespace phalanx::core {
namespace {

TEST(Philox, GivesTheKnownAnswersOfItsPaper) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, DependsOnEveryPartOfItsKey) {
  constexpr uint64_t kStream = stream_id("dropout");
  std::set<uint64_t> seen;
  for (const Random& random : {Random(1, kStream), Random(2, kStream), Random(1, stream_id("init")),
                               Random(1, kStream, 1), Random(1, kStream, 0, 1),
                               Random(uint64_t{1} << 40, kStream), Random(1, kStream, uint64_t{1} << 40)}) {
    for (uint64_t i = 0; i < 100; ++i) seen.insert(random.bits(i));
  }
  EXPECT_EQ(seen.size(), 700u);
  EXPECT_EQ(Random(1, kStream, 5, 6).bits(3), Random(1, kStream, 5, 6).bits(3));
}

TEST(Random, UniformAndNormalHaveTheirMoments) {
  const Random random(17, stream_id("moments"));
  constexpr int kCount = 200'000;
  double sum = 0, normal_sum = 0, normal_squares = 0, normal_fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = random.uniform(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    const double n = random.normal(i);
    ASSERT_TRUE(std::isfinite(n));
    sum += u;
    normal_sum += n;
    normal_squares += n * n;
    normal_fourth += n * n * n * n;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.003);
  EXPECT_NEAR(normal_sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(normal_squares / kCount, 1.0, 0.015);
  EXPECT_NEAR(normal_fourth / kCount, 3.0, 0.12);
}

TEST(Random, FillsGiveTheSameNumbersForAnySplit) {
  const Random random(17, stream_id("fill"), 3, 4);
  std::vector<float> whole(101), parts(101), uniform(50);
  random.fill_normal(whole);
  for (size_t begin = 0; begin < parts.size(); begin += 7) {
    random.fill_normal(std::span(parts).subspan(begin, std::min<size_t>(7, parts.size() - begin)), begin);
  }
  EXPECT_EQ(whole, parts);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(whole[i], static_cast<float>(random.normal(i)));
  random.fill_uniform(uniform, 10);
  for (const float u : uniform) EXPECT_TRUE(u >= 0.0f && u < 1.0f);
}

TEST(Random, BelowCoversItsRangeEvenly) {
  const Random random(3, stream_id("below"));
  std::map<uint64_t, int> counts;
  for (int i = 0; i < 70'000; ++i) ++counts[random.below(7, i)];
  ASSERT_EQ(counts.size(), 7u);
  for (const auto& [value, count] : counts) EXPECT_NEAR(count, 10'000, 400) << value;
}

TEST(Permutation, ReachesEveryElementOnce) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 65536, 65537, 100'003}) {
    const Permutation permutation(size, 17, stream_id("order"));
    std::vector<bool> seen(size);
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t place = permutation(i);
      ASSERT_LT(place, size);
      ASSERT_FALSE(seen[place]) << "size " << size;
      seen[place] = true;
    }
    EXPECT_THROW(permutation(size), Error);
  }
}

TEST(Permutation, ShufflesSmallSizesEvenly) {
  std::map<std::vector<uint64_t>, int> counts;
  constexpr int kTrials = 24'000;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Permutation permutation(4, trial, stream_id("small"));
    ++counts[{permutation(0), permutation(1), permutation(2), permutation(3)}];
  }
  ASSERT_EQ(counts.size(), 24u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, kTrials / 24, 200);
}

TEST(Permutation, MovesElementsFarAndDiffersBySeed) {
  constexpr uint64_t kSize = 100'000;
  const Permutation first(kSize, 1, 0), second(kSize, 2, 0), epoch(kSize, 1, 0, 1);
  double distance = 0;
  int equal = 0;
  for (uint64_t i = 0; i < kSize; ++i) {
    distance += std::abs(double(first(i)) - double(i)) / kSize;
    equal += (first(i) == second(i)) + (first(i) == epoch(i));
  }
  EXPECT_NEAR(distance / kSize, 1.0 / 3.0, 0.01);  // of two independent uniform places
  EXPECT_LT(equal, 20);                            // 2 expected
}

TEST(Permutation, IsTheSameOnEveryMachineAndRelease) {  // a resumed run must go on in the same order
  const Permutation permutation(1'000'000, 17, stream_id("data"));
  EXPECT_EQ(permute(17, stream_id("data"), 1'000'000, 5), permutation(5));
  EXPECT_EQ(permutation(0), 0u);
  EXPECT_EQ(permutation(1), 0u);
  EXPECT_EQ(permutation(999'999), 0u);
}

TEST(Permutation, WorksFor2To60Elements) {
  const Permutation permutation(uint64_t{1} << 60, 17, 0);
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 1000; ++i) seen.insert(permutation(i));
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace phalanx::core
