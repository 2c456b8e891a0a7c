#include "ops/split_weights.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace phalanx::ops {
namespace {

at::Tensor from_bits(std::vector<int64_t> bits) {
  return at::tensor(bits, at::kLong).to(at::kInt).view(at::kFloat);
}

TEST(SplitWeights, JoinToTheLastBit) {
  at::manual_seed(1);
  at::Tensor bits = at::randint(std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max(),
                                {3'000'001}, at::kInt);
  const at::Tensor weights =
      bits.view(at::kFloat)
          .nan_to_num(1.5, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity());
  at::Tensor upper = at::empty(weights.sizes(), at::kBFloat16),
             lower = at::empty(weights.sizes(), at::kShort);
  split_halves(weights, upper, lower);
  EXPECT_TRUE(at::equal(join_halves(upper, lower).view(at::kInt), weights.view(at::kInt)));
}

TEST(SplitWeights, UpperIsTheNearestBf16WithTiesAwayFromZero) {
  const at::Tensor weights = from_bits({0x3f800000, 0x3f807fff, 0x3f808000, 0x3f808001, 0x3f818000,
                                        0xbf808000, 0x7f7fffff, 0x00000001, 0x7f800000});
  const at::Tensor expected =
      at::tensor({0x3f80, 0x3f80, 0x3f81, 0x3f81, 0x3f82, 0xbf81, 0x7f80, 0x0000, 0x7f80}, at::kInt);
  at::Tensor upper = at::empty(weights.sizes(), at::kBFloat16),
             lower = at::empty(weights.sizes(), at::kShort);
  split_halves(weights, upper, lower);
  EXPECT_TRUE(at::equal(upper.view(at::kShort).to(at::kInt).bitwise_and(0xffff), expected)) << upper;
  EXPECT_TRUE(at::equal(join_halves(upper, lower).view(at::kInt), weights.view(at::kInt)));
}

TEST(SplitWeights, ANaNStaysANaN) {
  const at::Tensor weights = from_bits({0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001});
  at::Tensor upper = at::empty(weights.sizes(), at::kBFloat16),
             lower = at::empty(weights.sizes(), at::kShort);
  split_halves(weights, upper, lower);
  EXPECT_TRUE(upper.isnan().all().item<bool>());
  EXPECT_TRUE(join_halves(upper, lower).isnan().all().item<bool>());
}

}  // namespace
}  // namespace phalanx::ops
