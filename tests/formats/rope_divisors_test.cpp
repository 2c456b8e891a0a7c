#include "formats/rope_divisors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace phalanx::formats {
namespace {

TEST(RopeDivisors, OfLlama3FollowTheFormulaAndAreRecognised) {
  const Llama3Rope rope{8, 1, 4, 8192};
  const std::vector<float> divisors = llama3_rope_divisors(rope, 128, 500000);
  ASSERT_EQ(divisors.size(), 64u);
  EXPECT_EQ(divisors.front(), 1.0f);
  EXPECT_EQ(divisors.back(), 8.0f);
  EXPECT_TRUE(std::ranges::is_sorted(divisors));
  // Index 30: theta^(-60/128), wavelength 2949.4 between 8192/4 and 8192: s = (8192/w - 1)/3.
  const double wavelength = 2 * M_PI * std::pow(500000.0, 60.0 / 128), s = (8192 / wavelength - 1) / 3;
  EXPECT_NEAR(divisors[30], 1 / ((1 - s) / 8 + s), 1e-6);
  const auto inferred = infer_llama3_rope(divisors, 500000);
  ASSERT_TRUE(inferred.has_value());
  EXPECT_EQ(inferred->factor, 8);
  EXPECT_EQ(inferred->original_max_position_embeddings, 8192);
  EXPECT_FALSE(infer_llama3_rope(divisors, 10000).has_value());
}

}  // namespace
}  // namespace phalanx::formats
