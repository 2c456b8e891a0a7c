#include "ops/expert_order.h"

#include "ops/compare.h"
#include "ops/linear.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

at::Tensor some_experts() {  // [5, 2]; expert 1 has no token
  return at::tensor({2, 0, 3, 2, 0, 3, 2, 3, 0, 2}, at::kLong).view({5, 2});
}

TEST(ExpertOrder, SortsByExpertAndKeepsTheOrderOfTokens) {
  const ExpertOrder order = expert_order(some_experts(), 4);
  EXPECT_EQ(order.counts, (std::vector<int64_t>{3, 0, 4, 3}));
  EXPECT_EQ(offsets_of(order.counts), (std::vector<int64_t>{0, 3, 3, 7, 10}));
  EXPECT_TRUE(at::equal(order.slots, at::tensor({1, 4, 8, 0, 3, 6, 9, 2, 5, 7}, at::kLong)));
  EXPECT_TRUE(at::equal(order.positions.view(-1).index_select(0, order.slots), at::arange(10, at::kLong)));
}

TEST(ExpertOrder, RefusesAnExpertThatDoesNotExist) {
  EXPECT_THROW(expert_order(some_experts(), 3), c10::Error);
}

TEST(ToExpertOrder, RepeatsEachTokenForItsExpertsInEveryDtype) {
  at::manual_seed(1);
  const ExpertOrder order = expert_order(some_experts(), 4);
  test::expect_same_in_all_dtypes(
      [&](const Tensors& t) { return to_expert_order(t[0], order); },
      [&](const Tensors& t) { return t[0].index_select(0, order.slots.div(2, "floor")); },
      {at::randn({5, 7})});
}

TEST(ToExpertOrder, IsMadeAgainFromTheTokensForTheBackward) {
  at::manual_seed(2);
  const ExpertOrder order = expert_order(some_experts(), 4);
  const Tensors inputs = {at::randn({5, 7}), at::randn({3, 7}), at::randn({4, 7})};
  const auto use = [&](const at::Tensor& rows, const Tensors& t) {
    return at::cat({ops::linear(rows, t[1]), ops::linear(rows, t[2])}, 1);
  };
  test::expect_same(
      [&](const Tensors& t) { return use(to_expert_order(t[0], order), t); },
      [&](const Tensors& t) { return use(t[0].index_select(0, order.slots.div(2, "floor")), t); }, inputs,
      at::kDouble);
}

TEST(FromExpertOrder, SumsTheWeightedOutputsOfEachToken) {
  at::manual_seed(3);
  const ExpertOrder order = expert_order(some_experts(), 4);
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(toString(type));
    // Weights are fp32 beside bf16 outputs.
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    test::expect_same(
        [&](const Tensors& t) { return from_expert_order(t[0], t[1].to(wide), order); },
        [&](const Tensors& t) {
          const at::Tensor rows = t[0].index_select(0, order.positions.view(-1)).view({5, 2, 7});
          return (rows * t[1].unsqueeze(2)).sum(1);
        },
        {at::randn({10, 7}), at::rand({5, 2})}, type);
  }
}

TEST(FromExpertOrder, HasTheGradientOfCentralDifferences) {
  at::manual_seed(4);
  const ExpertOrder order = expert_order(some_experts(), 4);
  test::gradcheck(
      [&](const Tensors& t) { return from_expert_order(to_expert_order(t[0], order).sin(), t[1], order); },
      {at::randn({5, 3}), at::rand({5, 2})});
}

TEST(FromExpertOrder, GivesBackWhatWentInWhenWeightsSumToOne) {
  at::manual_seed(5);
  const ExpertOrder order = expert_order(some_experts(), 4);
  const at::Tensor x = at::randn({5, 7}, at::kDouble), half = at::full({5, 2}, 0.5, at::kDouble);
  EXPECT_TRUE(at::equal(from_expert_order(to_expert_order(x, order), half, order), x));
}

}  // namespace
}  // namespace phalanx::ops
