#include "parallel/ring_attention.h"

#include "ops/cpu/isa.h"
#include "parallel/context_case.h"

namespace phalanx::parallel {
namespace {

using test::Case;
using test::Tensors;

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::vector<int32_t>& cu : test::kAxes) {
    all.push_back({cu, 8, 2, 8});
    all.push_back({cu, 4, 4, 16});
    all.push_back({cu, 9, 3, 12});
  }
  return all;
}

ContextLayout layout_of(const Case& c, int ranks) {
  return make_context_layout(ContextKind::kRing, c.cu, ranks);
}

void expect_serial_results(at::ScalarType type, double limit) {
  for (const Case& c : cases()) {
    const Tensors x = test::random_inputs(c, type), expected = test::serial(c, x);
    for (int ranks = 1; ranks <= 4; ++ranks) {
      SCOPED_TRACE(test::name(c, ranks));
      test::expect_equal(test::over_ranks(layout_of(c, ranks), x, ring_attention), expected, limit);
    }
  }
}

TEST(RingAttention, EqualsSerialAttentionForwardAndBackwardInFp64) {
  expect_serial_results(at::kDouble, 1e-12);
}

TEST(RingAttention, EqualsSerialAttentionForwardAndBackwardInFp32) {
  expect_serial_results(at::kFloat, 1e-5);
}

TEST(RingAttention, EqualsSerialAttentionWithinTheRoundingOfBf16) {
  for (const Case& c : cases()) {
    const Tensors x = test::random_inputs(c, at::kBFloat16);
    for (int ranks = 1; ranks <= 4; ++ranks) {
      SCOPED_TRACE(test::name(c, ranks));
      test::expect_bf16_equal(c, test::over_ranks(layout_of(c, ranks), x, ring_attention), x);
    }
  }
}

TEST(RingAttention, EqualsSerialAttentionOverALongAxis) {  // several chunks inside one block
  const Case c{{0, 5, 2900, 5003}, 2, 1, 8};
  const Tensors x = test::random_inputs(c, at::kDouble);
  test::expect_equal(test::over_ranks(layout_of(c, 2), x, ring_attention), test::serial(c, x), 1e-12);
}

TEST(RingAttention, OfOneRankGivesTheBitsOfVarlenAttention) {
  if (!ops::cpu::isa().avx2) GTEST_SKIP() << "no kernels for this machine";
  const Case c{{0, 40, 103}, 8, 2, 16};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Tensors x = test::random_inputs(c, type), expected = test::serial(c, x);
    const Tensors actual = test::over_ranks(layout_of(c, 1), x, ring_attention);
    for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(actual[i], expected[i])) << test::kNames[i];
  }
}

TEST(RingAttention, GivesTheSameBitsInEveryRun) {
  const Case c{{0, 7, 150, 311}, 8, 2, 16};
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Tensors x = test::random_inputs(c, type);
    const Tensors first = test::over_ranks(layout_of(c, 4), x, ring_attention);
    for (int repeat = 0; repeat < 5; ++repeat) {
      const Tensors again = test::over_ranks(layout_of(c, 4), x, ring_attention);
      for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(again[i], first[i])) << test::kNames[i];
    }
  }
}

/// Ranks 0 and 1 hold each other's rows: every block of their ring is taken for the other one's.
TEST(RingAttention, TheComparisonSeesSwappedBlocks) {
  const Case c{{0, 96}, 4, 4, 16};
  const Tensors x = test::random_inputs(c, at::kDouble), expected = test::serial(c, x);
  const ContextLayout right = layout_of(c, 3);
  ContextLayout swapped = right;
  std::swap(swapped.ranges[0], swapped.ranges[1]);
  const Tensors actual = test::over_ranks(
      right, x,
      [&](const auto& q, const auto& k, const auto& v, const ContextLayout&, double scale,
          comm::Communicator& group) { return ring_attention(q, k, v, swapped, scale, group); });
  for (size_t i = 0; i < 4; ++i) EXPECT_GT(test::difference(actual[i], expected[i]), 1e-2) << test::kNames[i];
}

TEST(RingAttention, TheComparisonSeesIgnoredSampleBoundaries) {
  const Case c{{0, 50, 96}, 4, 4, 16};
  const Tensors x = test::random_inputs(c, at::kDouble), expected = test::serial(c, x);
  const Tensors actual =
      test::over_ranks(make_context_layout(ContextKind::kRing, {0, 96}, 3), x, ring_attention);
  for (size_t i = 0; i < 4; ++i) EXPECT_GT(test::difference(actual[i], expected[i]), 1e-2) << test::kNames[i];
}

TEST(RingAttention, SendsWhatItsFormulaSays) {
  const Case c{{0, 100, 1203}, 4, 2, 8};
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Tensors x = test::random_inputs(c, type);
    for (int ranks = 1; ranks <= 4; ++ranks) {
      std::vector<int64_t> sent;
      test::over_ranks(layout_of(c, ranks), x, ring_attention, &sent);
      const auto element = static_cast<double>(c10::elementSize(type)), wide = std::max(element, 4.0);
      const double block = 2.0 * c.cu.back() / ranks * c.kv_heads * c.dim;  // elements of a block
      const double forward = (ranks - 1) * block * element, backward = forward + (ranks - 1) * block * wide;
      for (const int64_t bytes : sent)
        EXPECT_NEAR(static_cast<double>(bytes), forward + backward, 0.01 * (forward + backward))
            << toString(type);
    }
  }
}

TEST(RingAttention, ComputesTheGradientOfSomeInputsOnly) {  // frozen keys; the ring turns all the same
  const Case c{{0, 20, 41}, 4, 2, 8};
  const Tensors x = test::random_inputs(c, at::kDouble), expected = test::serial(c, x);
  const ContextLayout layout = layout_of(c, 2);
  comm::run_ranks(2, [&](comm::Communicator& group) {
    const auto mine = [&](const at::Tensor& t) { return layout.select(t, group.rank()); };
    const at::Tensor q = mine(x[0]).clone().requires_grad_();
    const at::Tensor out = ring_attention(q, mine(x[1]), mine(x[2]), layout, test::kScale, group);
    const at::Tensor dq = torch::autograd::grad({out}, {q}, {mine(x[3])})[0];
    EXPECT_LE(test::difference(dq, mine(expected[1])), 1e-12);
  });
}

TEST(RingAttention, RefusesWhatDoesNotFit) {
  const ContextLayout layout = make_context_layout(ContextKind::kRing, {0, 8}, 2);
  comm::run_ranks(1, [&](comm::Communicator& group) {
    const at::Tensor x = at::zeros({4, 2, 8}), three_heads = at::zeros({8, 3, 8}), two = at::zeros({8, 2, 8});
    EXPECT_THROW(ring_attention(x, x, x, layout, 1.0, group), c10::Error);  // the layout is for two ranks
    const ContextLayout one = make_context_layout(ContextKind::kRing, {0, 8}, 1);
    EXPECT_THROW(ring_attention(x, x, x, one, 1.0, group), c10::Error);  // 4 rows for 8
    EXPECT_THROW(ring_attention(three_heads, two, two, one, 1.0, group), c10::Error);
  });
}

}  // namespace
}  // namespace phalanx::parallel
