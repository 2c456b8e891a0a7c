#include "ops/tile_product.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ops/compare.h"

namespace phalanx::ops {
namespace {

bool have_tiles() {
  return tiles_apply(at::zeros({1, 1}, at::kBFloat16));
}

TEST(TileProduct, AddsTheUnroundedProductForEveryShape) {
  if (!have_tiles()) GTEST_SKIP() << "no bf16 tiles (AMX) on this machine";
  at::manual_seed(11);
  for (const auto& [k, m, n] : {std::tuple{1, 1, 1}, {37, 72, 100}, {512, 64, 64}, {1031, 65, 192}}) {
    const at::Tensor a = at::randn({k, m}).to(at::kBFloat16), b = at::randn({k, n}).to(at::kBFloat16);
    const at::Tensor before = at::randn({m, n});
    at::Tensor sum = before.clone();
    tile_product_tn_add(sum, a, b, 0.5);
    const at::Tensor expected = before.to(at::kDouble) + 0.5 * a.to(at::kDouble).t().mm(b.to(at::kDouble));
    test::expect_near(sum, expected, {1e-4, 1e-5}, ("k " + std::to_string(k)).c_str());
  }
}

TEST(TileProductOfRows, EqualsThePlainProductForEveryShapeAndDtype) {
  if (!have_tiles()) GTEST_SKIP() << "no bf16 tiles (AMX) on this machine";
  at::manual_seed(12);
  for (const int64_t k : {32, 96, 576}) {
    for (const int64_t n : {5, 16, 100, 192}) {
      const at::Tensor b = at::randn({n, k}).to(at::kBFloat16);
      for (const int64_t m : {1, 8, 16, 17, 40, 70}) {
        const at::Tensor a = at::randn({m, k}).to(at::kBFloat16);
        ASSERT_TRUE(fits_tiles(a, b));
        const at::Tensor expected = a.to(at::kDouble).mm(b.to(at::kDouble).t());
        const std::string what = fmt::format("{} x {} x {}", m, n, k);
        const at::Tensor y = tile_product_nt(a, b, at::kFloat);
        test::expect_near(y, expected, {1e-4, 1e-5}, what.c_str());
        EXPECT_TRUE(at::equal(tile_product_nt(a, b, at::kBFloat16), y.to(at::kBFloat16))) << what;
        EXPECT_TRUE(at::equal(tile_product_nt(a.narrow(0, m - 1, 1), b, at::kFloat)[0], y[m - 1])) << what;
      }
    }
  }
}

TEST(TileProductOfRows, LeavesOtherShapesToOthers) {
  const auto fits = [](at::IntArrayRef a, at::IntArrayRef b, at::ScalarType dtype) {
    return few_rows_fit_tiles(at::zeros(a, dtype), at::zeros(b, dtype));
  };
  EXPECT_FALSE(fits({65, 32}, {16, 32}, at::kBFloat16));
  EXPECT_FALSE(fits({0, 32}, {16, 32}, at::kBFloat16));
  EXPECT_FALSE(fits({8, 40}, {16, 40}, at::kBFloat16));
  EXPECT_FALSE(fits({8, 32}, {16, 32}, at::kFloat));
}

}  // namespace
}  // namespace phalanx::ops
