#include "ops/attention.h"

#include "ops/compare.h"
#include "ops/cpu/isa.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

at::Tensor plain_attention(const Tensors& t, const std::vector<int32_t>& cu,
                           const AttentionOptions& options) {
  std::vector<at::Tensor> samples;
  const int64_t group = t[0].size(1) / t[1].size(1);
  for (size_t s = 0; s + 1 < cu.size(); ++s) {
    const int64_t tokens = cu[s + 1] - cu[s];
    const auto rows = [&](const at::Tensor& x) {
      return x.narrow(0, cu[s], tokens).transpose(0, 1);
    };  // [heads, T, d]
    const at::Tensor k = rows(t[1]).repeat_interleave(group, 0), v = rows(t[2]).repeat_interleave(group, 0);
    const at::Tensor all = at::ones({tokens, tokens}, at::kBool);
    at::Tensor hidden = all.triu(1);
    if (options.window > 0) hidden = hidden.logical_or(all.tril(-options.window));
    at::Tensor scores = rows(t[0]).matmul(k.transpose(1, 2)) * options.scale;
    if (options.softcap > 0) scores = (scores / options.softcap).tanh() * options.softcap;
    const at::Tensor p = scores.masked_fill(hidden, -INFINITY).softmax(-1);
    samples.push_back(p.matmul(v).transpose(0, 1));
  }
  return at::cat(samples, 0);
}

struct Case {
  std::vector<int32_t> cu;
  int64_t heads, kv_heads, dim;
};

Tensors random_inputs(const Case& c) {
  const int64_t n = c.cu.back();
  return {at::randn({n, c.heads, c.dim}), at::randn({n, c.kv_heads, c.dim}),
          at::randn({n, c.kv_heads, c.dim})};
}

const std::vector<Case> kCases = {
    {{0, 1}, 1, 1, 8},           {{0, 1, 2, 3}, 3, 1, 16}, {{0, 5, 6, 38, 70}, 4, 4, 16},
    {{0, 33, 130}, 6, 2, 64},    {{0, 257}, 3, 1, 40},     {{0, 64, 128, 192}, 2, 1, 128},
    {{0, 65, 66, 300}, 9, 3, 64}};

TEST(VarlenAttention, EqualsItsFormulaForwardAndBackward) {
  at::manual_seed(1);
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.cu.back() << " tokens, " << c.heads << "/" << c.kv_heads
                                    << " heads of " << c.dim);
    const double scale = 1.0 / std::sqrt(c.dim);
    test::expect_same_in_all_dtypes(
        [&](const Tensors& t) { return varlen_attention(t[0], t[1], t[2], c.cu, scale); },
        [&](const Tensors& t) { return plain_attention(t, c.cu, scale); }, random_inputs(c));
  }
}

TEST(VarlenAttention, AgreesOnMachinesWithoutAFastBf16ProductAndWithoutAvx512) {
  at::manual_seed(2);
  const Case& c = kCases[3];
  cpu::Isa tiles = cpu::isa();
  tiles.amx_bf16 = true;
  for (const cpu::Isa& lesser : {tiles, cpu::Isa{.avx2 = cpu::isa().avx2}}) {
    const cpu::IsaOverride pretend(lesser);
    test::expect_same([&](const Tensors& t) { return varlen_attention(t[0], t[1], t[2], c.cu, 0.125); },
                      [&](const Tensors& t) { return plain_attention(t, c.cu, 0.125); }, random_inputs(c),
                      at::kBFloat16);
  }
}

TEST(VarlenAttention, GivesPackedSamplesTheBitsOfSingleOnes) {
  at::manual_seed(3);
  const Case c{{0, 40, 41, 300}, 6, 3, 32};
  const Tensors x = random_inputs(c);
  const at::Tensor packed = varlen_attention(x[0], x[1], x[2], c.cu, 0.2);
  for (size_t s = 0; s + 1 < c.cu.size(); ++s) {
    const int32_t tokens = c.cu[s + 1] - c.cu[s];
    const auto rows = [&](const at::Tensor& t) { return t.narrow(0, c.cu[s], tokens); };
    EXPECT_TRUE(
        at::equal(varlen_attention(rows(x[0]), rows(x[1]), rows(x[2]), {0, tokens}, 0.2), rows(packed)));
  }
}

TEST(VarlenAttention, SurvivesLargeScores) {
  at::manual_seed(4);
  const Case c{{0, 50}, 1, 1, 16};
  Tensors x = random_inputs(c);
  x[0] *= 1e3;
  x[1] *= 1e3;
  test::expect_near(
      varlen_attention(x[0], x[1], x[2], c.cu, 0.25),
      plain_attention({x[0].to(at::kDouble), x[1].to(at::kDouble), x[2].to(at::kDouble)}, c.cu, 0.25),
      {1e-3, 1e-3}, "one-hot rows");
}

TEST(VarlenAttention, HasTheGradientOfCentralDifferences) {
  at::manual_seed(5);
  const std::vector<int32_t> cu = {0, 3, 4};
  test::gradcheck([&](const Tensors& t) { return varlen_attention(t[0], t[1], t[2], cu, 0.5); },
                  {at::randn({4, 2, 3}), at::randn({4, 1, 3}), at::randn({4, 1, 3})});
}

TEST(VarlenAttention, WithAWindowOrASoftCapEqualsItsFormulaForwardAndBackward) {
  at::manual_seed(6);
  for (const Case& c : kCases) {
    for (const AttentionOptions& options :
         {AttentionOptions(0.3, 3), AttentionOptions(0.3, 0, 2.0), AttentionOptions(0.3, 40, 1.5)}) {
      SCOPED_TRACE(testing::Message()
                   << c.cu.back() << " tokens, window " << options.window << ", cap " << options.softcap);
      test::expect_same_in_all_dtypes(
          [&](const Tensors& t) { return varlen_attention(t[0], t[1], t[2], c.cu, options); },
          [&](const Tensors& t) { return plain_attention(t, c.cu, options); }, random_inputs(c));
    }
  }
}

TEST(VarlenAttention, WindowsInSamplesOfSeveralChunksEqualTheFormula) {
  at::manual_seed(7);
  const Case c{{0, 2500}, 2, 1, 8};
  for (const int64_t window : {5, 1100}) {
    test::expect_same(
        [&](const Tensors& t) {
          return varlen_attention(t[0], t[1], t[2], c.cu, {0.3, window});
        },
        [&](const Tensors& t) {
          return plain_attention(t, c.cu, {0.3, window});
        },
        random_inputs(c), at::kDouble);
  }
}

TEST(VarlenAttention, AWindowThatEverySampleFitsIntoChangesNoBit) {
  at::manual_seed(8);
  const Case& c = kCases[3];
  const Tensors x = random_inputs(c);
  EXPECT_TRUE(at::equal(varlen_attention(x[0], x[1], x[2], c.cu, {0.2, 97}),
                        varlen_attention(x[0], x[1], x[2], c.cu, 0.2)));
}

TEST(VarlenAttention, RefusesBoundariesAndHeadsThatDoNotFit) {
  const at::Tensor q = at::randn({4, 3, 8}), k = at::randn({4, 2, 8});
  EXPECT_THROW(varlen_attention(q, q, q, {0, 3}, 1.0), c10::Error);
  EXPECT_THROW(varlen_attention(q, q, q, {}, 1.0), c10::Error);
  EXPECT_THROW(varlen_attention(q, k, k, {0, 4}, 1.0), c10::Error);
}

}  // namespace
}  // namespace phalanx::ops
