#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace phalanx::core {
namespace {

TEST(Philox, GivesTheKnownAnswersOfItsPaper) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, DependsOnEveryPartOfItsName) {
  constexpr uint64_t kStream = stream_id("dropout");
  constexpr uint64_t kHigh = uint64_t{1} << 40;
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 100; ++i) {
    for (const uint64_t stream : {kStream, stream_id("init"), substream(kStream, 0), substream(kStream, 1),
                                  substream(substream(kStream, 0), 1), substream(substream(kStream, 1), 0),
                                  substream(kStream, kHigh)}) {
      for (const uint64_t seed : {uint64_t{1}, uint64_t{2}, kHigh}) seen.insert(random_bits(seed, stream, i));
    }
    seen.insert(random_bits(1, kStream, kHigh + i));
  }
  EXPECT_EQ(seen.size(), 2200u);
}

TEST(Random, UniformAndNormalHaveTheirMoments) {
  constexpr uint64_t kStream = stream_id("moments");
  constexpr int kCount = 200'000;
  double sum = 0, normal_sum = 0, normal_squares = 0, normal_fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = random_uniform(17, kStream, i);
    ASSERT_TRUE(u >= 0.0 && u < 1.0);
    const double n = random_normal(17, kStream, i);
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

TEST(Permute, ReachesEveryElementOnce) {
  constexpr uint64_t kStream = stream_id("order");
  for (const uint64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 65536, 65537, 100'003}) {
    std::vector<bool> seen(size);
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t place = permute(17, kStream, size, i);
      ASSERT_LT(place, size);
      ASSERT_FALSE(seen[place]) << "size " << size;
      seen[place] = true;
    }
  }
}

TEST(Permute, ShufflesSmallSizesEvenly) {
  constexpr int kTrials = 24'000;
  std::map<std::vector<uint64_t>, int> counts;
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    const auto place = [&](uint64_t i) { return permute(seed, stream_id("small"), 4, i); };
    ++counts[{place(0), place(1), place(2), place(3)}];
  }
  ASSERT_EQ(counts.size(), 24u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, kTrials / 24, 200);
}

TEST(Permute, MovesElementsFarAndDiffersByName) {
  constexpr uint64_t kSize = 100'000;
  double distance = 0;
  int equal = 0;
  for (uint64_t i = 0; i < kSize; ++i) {
    const uint64_t place = permute(1, 0, kSize, i);
    distance += std::abs(double(place) - double(i)) / kSize;
    equal += (place == permute(2, 0, kSize, i)) + (place == permute(1, 1, kSize, i));
  }
  EXPECT_NEAR(distance / kSize, 1.0 / 3.0, 0.01);  // of two independent uniform places
  EXPECT_LT(equal, 20);                            // 2 expected
}

TEST(Permute, IsTheSameInEveryRelease) {  // a resumed run must go on in the same order
  constexpr uint64_t kStream = stream_id("data");
  EXPECT_EQ(permute(17, kStream, 1'000'000, 0), 145212u);
  EXPECT_EQ(permute(17, kStream, 1'000'000, 1), 194086u);
  EXPECT_EQ(permute(17, kStream, 1'000'000, 999'999), 26529u);
}

TEST(Permute, WorksFor2To60Elements) {
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 1000; ++i) seen.insert(permute(17, 0, uint64_t{1} << 60, i));
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace phalanx::core
