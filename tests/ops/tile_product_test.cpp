#include "ops/tile_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ops/compare.h"

namespace phalanx::ops {
namespace {

TEST(TileProduct, AddsTheUnroundedProductForEveryShape) {
  if (!tiles_apply(at::zeros({1, 1}, at::kBFloat16))) GTEST_SKIP() << "no bf16 tiles (AMX) on this machine";
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

}  // namespace
}  // namespace phalanx::ops
