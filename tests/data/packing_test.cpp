#include "data/packing.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace phalanx::data {
namespace {

constexpr uint32_t kCapacity = 64;

std::vector<Segment> segments_of(const std::vector<uint32_t>& lengths) {
  std::vector<Segment> segments;
  uint64_t begin = 0;
  for (const uint32_t length : lengths) {
    segments.push_back({begin, length, 0, static_cast<int64_t>(segments.size())});
    begin += length;
  }
  return segments;
}

std::vector<uint32_t> random_lengths(uint32_t longest) {
  return *rc::gen::container<std::vector<uint32_t>>(rc::gen::inRange<uint32_t>(1, longest + 1));
}

/// Every token exactly once, no row too long.
void check(const Packing& packing, uint64_t num_tokens) {
  std::vector<int> seen(num_tokens, 0);
  for (size_t row = 0; row + 1 < packing.row_begin.size(); ++row) {
    uint64_t length = 0;
    for (uint64_t s = packing.row_begin[row]; s < packing.row_begin[row + 1]; ++s) {
      length += packing.segments[s].length;
      for (uint32_t t = 0; t < packing.segments[s].length; ++t) ++seen[packing.segments[s].begin + t];
    }
    RC_ASSERT(length > 0u && length <= kCapacity);
  }
  RC_ASSERT(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
}

uint64_t sum(const std::vector<uint32_t>& lengths) {
  uint64_t total = 0;
  for (const uint32_t length : lengths) total += length;
  return total;
}

TEST(Packing, BestFitKeepsEveryTokenExactlyOnce) {
  EXPECT_TRUE(rc::check([] {
    const auto lengths = random_lengths(kCapacity);
    check(pack_best_fit(segments_of(lengths), kCapacity, 16), sum(lengths));
  }));
}

TEST(Packing, SplitKeepsEveryTokenExactlyOnceAndFillsAllRowsButTheLast) {
  EXPECT_TRUE(rc::check([] {
    const auto lengths = random_lengths(300);
    const Packing packing = pack_split(segments_of(lengths), kCapacity);
    check(packing, sum(lengths));
    RC_ASSERT(packing.row_begin.size() - 1 == (sum(lengths) + kCapacity - 1) / kCapacity);
  }));
}

TEST(Packing, BestFitPutsAShortSampleIntoTheFullestRowThatHasRoom) {
  const Packing packing = pack_best_fit(segments_of({40, 50, 14, 24}), kCapacity);
  ASSERT_EQ(packing.row_begin.size(), 3u);  // 50 + 14 and 40 + 24
}

}  // namespace
}  // namespace phalanx::data
