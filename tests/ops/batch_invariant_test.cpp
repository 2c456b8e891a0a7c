#include "ops/batch_invariant.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "ops/attention.h"
#include "ops/cpu/isa.h"
#include "ops/cross_entropy.h"
#include "ops/label_logprob.h"
#include "ops/last_queries.h"
#include "ops/matmul.h"

namespace phalanx::ops {
namespace {

std::vector<cpu::Isa> machines() {
  const cpu::Isa here = cpu::isa();
  return {here, cpu::Isa{.avx2 = here.avx2}};
}

TEST(BatchInvariant, ARowsProductHasTheSameBitsInEveryCall) {
  const at::NoGradGuard no_grad;
  const BatchInvariant scope;
  at::manual_seed(1);
  for (const cpu::Isa& isa : machines()) {
    const cpu::IsaOverride pretend(isa);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t k : {31, 576, 2500}) {  // one pass over k, and several
        const at::Tensor a = at::randn({200, k}).to(dtype), b = at::randn({77, k}).to(dtype);
        const at::Tensor whole = matmul_nt(a, b);
        for (const int64_t count : {1, 2, 5, 8, 9, 13, 48, 49}) {
          EXPECT_TRUE(at::equal(matmul_nt(a.narrow(0, 100, count), b), whole.narrow(0, 100, count)))
              << dtype << " " << k << " " << count;
        }
        const at::Tensor base = at::randn({200, 77}).to(dtype), sum = base.clone();
        matmul_nt_add_(sum, a, b, 0.5);
        const at::Tensor few = base.narrow(0, 100, 3).clone();
        matmul_nt_add_(few, a.narrow(0, 100, 3), b, 0.5);
        EXPECT_TRUE(at::equal(few, sum.narrow(0, 100, 3))) << dtype << " " << k;
      }
    }
  }
}

TEST(BatchInvariant, FewRowsOfAProductHaveTheBitsOfMany) {
  const at::NoGradGuard no_grad;
  at::manual_seed(2);
  const at::Tensor a = at::randn({100, 3000});
  at::Tensor many = at::ones({90, 90}), few = at::ones({90, 90});
  matmul_tn_add(many, a.narrow(1, 0, 90), a.narrow(1, 100, 90));
  for (int64_t row = 0; row < 90; row += 30) {
    matmul_tn_add(few.narrow(0, row, 30), a.narrow(1, row, 30), a.narrow(1, 100, 90));
  }
  EXPECT_TRUE(at::equal(many, few));
}

TEST(BatchInvariant, TheLastQueriesOfASampleHaveTheBitsOfTheWhole) {
  const at::NoGradGuard no_grad;
  const BatchInvariant scope;
  at::manual_seed(3);
  for (const cpu::Isa& isa : machines()) {
    const cpu::IsaOverride pretend(isa);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const int64_t tokens = 301, d = 24;
      const at::Tensor q = at::randn({tokens, 6, d}).to(dtype), k = at::randn({tokens, 2, d}).to(dtype),
                       v = at::randn({tokens, 2, d}).to(dtype);
      const at::Tensor whole = varlen_attention(q, k, v, {0, static_cast<int32_t>(tokens)}, 0.3);
      for (const int64_t end : {1, 2, 33, 128, 129, 255, 301}) {
        for (const int64_t count : {1, 7, 64}) {
          if (count > end) continue;
          const at::Tensor out = at::empty({count, 6, d}, q.options());
          const auto read_head = [&](int64_t head, void* keys, void* values) {
            const auto bytes = static_cast<size_t>(end * d) * q.element_size();
            std::memcpy(keys, k.narrow(0, 0, end).select(1, head).contiguous().data_ptr(), bytes);
            std::memcpy(values, v.narrow(0, 0, end).select(1, head).contiguous().data_ptr(), bytes);
          };
          attend_last({{q.narrow(0, end - count, count), out, end, 2, read_head}}, 0.3);
          EXPECT_TRUE(at::equal(out, whole.narrow(0, end - count, count)))
              << dtype << " " << end << " " << count << " " << isa.avx512;
        }
      }
    }
  }
}

TEST(BatchInvariant, TheLogprobOfALabelHasTheBitsOfTokenLogprobs) {
  const at::NoGradGuard no_grad;
  const BatchInvariant scope;
  at::manual_seed(4);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor hidden = at::randn({9, 64}).to(dtype), weight = at::randn({203, 64}).to(dtype);
    const at::Tensor labels = at::randint(0, 203, {9}, at::kLong);
    const at::Tensor expected = token_logprobs(hidden, weight, labels);
    for (int64_t i = 0; i < 9; ++i) {
      const at::Tensor logits = wide_logits(hidden.narrow(0, i, 1), weight);
      EXPECT_EQ(label_logprob({logits.const_data_ptr<float>(), 203}, labels[i].item<int64_t>()),
                static_cast<double>(expected[i].item<float>()));
    }
  }
}

TEST(BatchInvariant, RefusesWhatHasNoKernel) {
  const at::NoGradGuard no_grad;
  const BatchInvariant scope;
  EXPECT_THROW(matmul_nt(at::randn({2, 4}, at::kDouble), at::randn({3, 4}, at::kDouble)), core::Error);
  const at::Tensor rows = at::randn({8, 2, 8});
  EXPECT_THROW(varlen_attention(rows, rows, rows, {0, 8}, {0.3, 0, 5.0}), core::Error);  // a soft cap
  EXPECT_THROW(varlen_attention(rows, rows, rows, {0, 8}, {0.3, 4, 0}), core::Error);    // a window
  const cpu::IsaOverride pretend(cpu::Isa{});
  EXPECT_THROW(matmul_nt(at::randn({2, 4}), at::randn({3, 4})), core::Error);
}

TEST(BatchInvariant, EndsWithItsScope) {
  {
    const BatchInvariant outer;
    {
      const BatchInvariant inner(false);
      EXPECT_TRUE(BatchInvariant::is_active());
    }
    EXPECT_TRUE(BatchInvariant::is_active());
  }
  EXPECT_FALSE(BatchInvariant::is_active());
}

}  // namespace
}  // namespace phalanx::ops
