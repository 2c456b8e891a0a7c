#include "ops/compare.h"
#include "ops/cpu/isa.h"
#include "ops/ops.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& w, double eps) {
  return x * at::rsqrt(x.square().mean(1, true) + eps) * w;
}

at::Tensor plain_rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto half = x.chunk(2, 2);
  const at::Tensor c = cos.to(x.scalar_type()).unsqueeze(1), s = sin.to(x.scalar_type()).unsqueeze(1);
  return at::cat({half[0] * c - half[1] * s, half[1] * c + half[0] * s}, 2);
}

// Every instruction set that this machine can pretend to have.
void on_each_isa(const std::function<void()>& body) {
  const cpu::Isa best = cpu::isa();
  for (const cpu::Isa lesser : {best, cpu::Isa{.avx2 = best.avx2}, cpu::Isa{}}) {
    SCOPED_TRACE(lesser.avx512 ? "avx512" : lesser.avx2 ? "avx2" : "generic");
    const cpu::IsaOverride pretend(lesser);
    body();
  }
}

TEST(RmsNorm, EqualsItsFormulaForwardAndBackward) {
  at::manual_seed(1);
  for (const auto& [rows, n] : {std::pair{1, 7}, {5, 16}, {130, 100}, {3, 576}}) {
    const Tensors inputs = {at::randn({rows, n}), at::randn({n})};
    on_each_isa([&] {
      test::expect_same_in_all_dtypes([](const Tensors& t) { return rms_norm(t[0], t[1], 1e-5); },
                                      [](const Tensors& t) { return plain_norm(t[0], t[1], 1e-5); }, inputs);
    });
  }
}

TEST(RmsNorm, WithTheResidualEqualsTwoSteps) {
  at::manual_seed(2);
  const Tensors inputs = {at::randn({70, 36}), at::randn({70, 36}), at::randn({36})};
  on_each_isa([&] {
    test::expect_same_in_all_dtypes(
        [](const Tensors& t) {
          const auto [y, h] = add_rms_norm(t[0], t[1], t[2], 1e-6);
          return at::cat({y, h}, 0);
        },
        [](const Tensors& t) {
          const at::Tensor h = t[0] + t[1];
          return at::cat({plain_norm(h, t[2], 1e-6), h}, 0);
        },
        inputs);
  });
}

TEST(RmsNorm, HasTheGradientOfCentralDifferences) {
  at::manual_seed(3);
  test::gradcheck([](const Tensors& t) { return rms_norm(t[0], t[1], 1e-5); },
                  {at::randn({3, 5}), at::randn({5})});
}

TEST(Rope, EqualsItsFormulaAndTurnsBack) {
  at::manual_seed(4);
  for (const int64_t d : {2, 10, 64}) {
    const auto [cos, sin] =
        rope_rows(at::arange(9), at::pow(10000.0, -at::arange(0, d, 2).to(at::kDouble) / d), at::kFloat);
    on_each_isa([&, c = cos, s = sin] {
      test::expect_same_in_all_dtypes(
          [&](const Tensors& t) {
            const at::ScalarType type = t[0].scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
            return rope(t[0], c.to(type), s.to(type));
          },
          [&](const Tensors& t) { return plain_rope(t[0], c, s); }, {at::randn({9, 3, d})});
    });
  }
}

TEST(Rope, TakesAnglesInSinglePrecision) {
  const at::Tensor positions = at::tensor({0, 1, 5000}, at::kLong),
                   frequencies = at::tensor({1.0, 0.01}, at::kDouble);
  const auto [cos, sin] = rope_rows(positions, frequencies, at::kBFloat16);
  EXPECT_EQ(cos.scalar_type(), at::kFloat);
  EXPECT_FLOAT_EQ(cos[2][0].item<float>(), std::cos(5000.0f));
  EXPECT_FLOAT_EQ(sin[2][1].item<float>(), std::sin(5000.0f * 0.01f));
}

TEST(SwiGlu, EqualsItsFormulaAlsoAtTheEdges) {
  at::manual_seed(5);
  for (const auto& [rows, n] : {std::pair{1, 1}, {3, 17}, {40, 1536}}) {
    on_each_isa([&] {
      test::expect_same_in_all_dtypes([](const Tensors& t) { return swiglu(t[0], t[1]); },
                                      [](const Tensors& t) { return at::silu(t[0]) * t[1]; },
                                      {3 * at::randn({rows, n}), at::randn({rows, n})});
      test::expect_same([](const Tensors& t) { return swiglu(t[0], t[1]); },
                        [](const Tensors& t) { return at::silu(t[0]) * t[1]; },
                        {at::tensor({-1e4f, -80.0f, 0.0f, 80.0f, 1e4f}).view({1, 5}), at::ones({1, 5})},
                        at::kFloat);
    });
  }
}

TEST(SwiGlu, HasTheGradientOfCentralDifferences) {
  at::manual_seed(6);
  test::gradcheck([](const Tensors& t) { return swiglu(t[0], t[1]); },
                  {at::randn({2, 5}), at::randn({2, 5})});
}

TEST(Embedding, GivesThePaddingTokenNoGradient) {
  at::manual_seed(7);
  const at::Tensor ids = at::tensor({3, 0, 3, 3, 9, 0}, at::kLong);
  test::expect_same_in_all_dtypes([&](const Tensors& t) { return ops::embedding(ids, t[0], 3); },
                                  [&](const Tensors& t) { return at::embedding(t[0], ids, 3); },
                                  {at::randn({10, 6})});
}

TEST(Embedding, AddsRepeatedRows) {
  at::manual_seed(7);
  const at::Tensor ids = at::tensor({3, 0, 3, 3, 9, 0}, at::kLong);
  test::expect_same_in_all_dtypes([&](const Tensors& t) { return ops::embedding(ids, t[0]); },
                                  [&](const Tensors& t) { return t[0].index_select(0, ids); },
                                  {at::randn({10, 6})});
  EXPECT_THROW(ops::embedding(at::tensor({10}, at::kLong), at::randn({10, 6})), c10::Error);
}

}  // namespace
}  // namespace phalanx::ops
