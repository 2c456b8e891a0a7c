#include "model/few_rows.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <numeric>

#include "model/cached_attention.h"

namespace phalanx::model {
namespace {

TEST(FewRowsLinear, EqualsThePlainProductForEveryShapeAndDtype) {
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t in : {1, 31, 32, 100, 576}) {
      for (const int64_t rows : {1, 2, 3, 7, 16}) {
        const at::Tensor x = at::randn({rows, in}).to(dtype), w = at::randn({53, in}).to(dtype),
                         b = at::randn({53}).to(dtype);
        ASSERT_TRUE(few_rows_applies(x, w));
        const at::Tensor expected = at::linear(x.to(at::kDouble), w.to(at::kDouble), b.to(at::kDouble));
        const at::Tensor y = few_rows_linear(x, w, b, at::kFloat);
        EXPECT_LT((y.to(at::kDouble) - expected).abs().max().item<double>(), 1e-4)
            << dtype << " " << in << " " << rows;
        EXPECT_EQ(few_rows_linear(x, w, b, dtype).scalar_type(), dtype);
      }
    }
  }
}

TEST(FewRowsLinear, ARowDoesNotDependOnItsNeighbours) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::randn({5, 96}).to(at::kBFloat16), w = at::randn({64, 96}).to(at::kBFloat16);
  const at::Tensor together = few_rows_linear(x, w, {}, at::kFloat);
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(at::equal(few_rows_linear(x.narrow(0, i, 1), w, {}, at::kFloat)[0], together[i])) << i;
  }
}

TEST(FewRowsLinear, StepsAsideWhenGradientsAreWanted) {
  EXPECT_FALSE(few_rows_applies(at::randn({1, 32}), at::randn({8, 32})));
}

TEST(CachedAttention, LongContextsAndOddHeadSizesEqualAten) {
  const at::NoGradGuard no_grad;
  at::manual_seed(2);
  for (const auto& [dtype, bound] : {std::pair(at::kFloat, 1e-5), {at::kBFloat16, 0.02}}) {
    for (const int64_t d : {8, 64, 80}) {
      const at::Tensor q = at::randn({4, 6, d}).to(dtype);
      const at::Tensor keys = at::randn({1400, 2, d}).to(dtype), values = at::randn({1400, 2, d}).to(dtype);
      std::vector<int64_t> pages(1400 / 56);
      std::iota(pages.rbegin(), pages.rend(), 0);
      // Three new tokens behind 1300, and a first one.
      const std::vector<CachedRows> sequences = {{pages.data(), 1300, 0, 3}, {pages.data() + 2, 0, 3, 1}};
      const auto attend = [&](at::ScalarType type) {
        KvPages layer(56);
        layer.reserve(static_cast<int64_t>(pages.size()), keys.to(type));
        layer.write({pages.data(), 0, 0, 1400}, keys.to(type), values.to(type));
        at::Tensor out = at::empty(q.sizes(), q.options().dtype(type));
        cached_attention(q.to(type), layer, sequences, 0.2, out);
        return out;
      };
      const at::Tensor own = attend(dtype), reference = attend(at::kDouble);
      EXPECT_LT((own.to(at::kDouble) - reference).abs().max().item<double>(), bound) << dtype << " " << d;
    }
  }
}

}  // namespace
}  // namespace phalanx::model
