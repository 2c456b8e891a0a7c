#include "ops/moe_router.h"

#include "ops/compare.h"
#include "ops/expert_order.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

std::vector<int64_t> counts_of(const Routing& routing, int64_t num_experts) {
  return expert_order(routing.experts, num_experts).counts;
}

// The plain formulas, with autograd's own gradients.
at::Tensor plain_weights(const at::Tensor& logits, int64_t k) {
  const at::Tensor top = std::get<0>(logits.softmax(1).topk(k, 1));
  return top / top.sum(1, true);
}

TEST(MoeRouter, EqualsItsFormulaInEveryDtype) {
  at::manual_seed(1);
  const Tensors logits = {at::randn({40, 8}) * 2};
  const auto all = [](const at::Tensor& weights, const at::Tensor& probabilities, const at::Tensor& log_z) {
    return at::cat({weights, probabilities, log_z.unsqueeze(1)}, 1);
  };
  for (const int64_t k : {1, 2, 8}) {
    test::expect_same_in_all_dtypes(
        [&](const Tensors& t) {
          const Routing r = moe_router(t[0], k);
          return all(r.weights, r.probabilities, r.log_z);
        },
        [&](const Tensors& t) { return all(plain_weights(t[0], k), t[0].softmax(1), t[0].logsumexp(1)); },
        logits);
  }
}

TEST(MoeRouter, HasTheGradientOfCentralDifferencesThroughEveryOutput) {
  at::manual_seed(2);
  const Tensors logits = {at::randn({5, 4}, at::kDouble)};
  test::gradcheck([](const Tensors& t) { return moe_router(t[0], 2).weights; }, logits);
  test::gradcheck([](const Tensors& t) { return moe_router(t[0], 2).probabilities; }, logits);
  test::gradcheck([](const Tensors& t) { return moe_router(t[0], 2).log_z; }, logits);
  test::gradcheck(
      [](const Tensors& t) {
        const Routing r = moe_router(t[0], 2);
        const at::Tensor sums = router_sums(r, counts_of(r, 4));
        return load_balancing_loss(sums, sums) * 3 + router_z_loss(sums, sums) + r.weights.square().sum();
      },
      logits);
}

TEST(MoeRouter, ComputesInFp32FromBf16Logits) {
  const Routing routing = moe_router(at::randn({3, 4}).to(at::kBFloat16), 2);
  EXPECT_EQ(routing.weights.scalar_type(), at::kFloat);
  EXPECT_EQ(routing.probabilities.scalar_type(), at::kFloat);
}

TEST(MoeRouter, GivesTiesToTheLowerExpert) {
  const Routing routing = moe_router(at::tensor({1.0, 3.0, 1.0, 3.0, 1.0}).view({1, 5}), 3);
  EXPECT_TRUE(at::equal(routing.experts, at::tensor({1, 3, 0}, at::kLong).view({1, 3})));
}

TEST(MoeRouter, RefusesMoreExpertsPerTokenThanThereAre) {
  EXPECT_THROW(moe_router(at::randn({3, 4}), 5), c10::Error);
  EXPECT_THROW(moe_router(at::randn({3, 4}), 0), c10::Error);
}

TEST(RouterLosses, EqualTheirFormulas) {
  at::manual_seed(3);
  const at::Tensor logits = at::randn({30, 6}, at::kDouble);
  const Routing routing = moe_router(logits, 2);
  const at::Tensor sums = router_sums(routing, counts_of(routing, 6));
  const at::Tensor sent = at::one_hot(routing.experts, 6).to(at::kDouble).mean(0);  // [k, E]
  const at::Tensor expected = (sent * logits.softmax(1).mean(0).unsqueeze(0)).sum() * 6;
  EXPECT_NEAR(load_balancing_loss(sums, sums).item<double>(), expected.item<double>(), 1e-14);
  EXPECT_NEAR(router_z_loss(sums, sums).item<double>(), logits.logsumexp(1).square().mean().item<double>(),
              1e-14);
}

TEST(RouterLosses, AreKAndZeroForARouterThatTreatsAllAlike) {
  const at::Tensor logits = at::full({7, 4}, -std::log(4.0), at::kDouble);
  const Routing routing = moe_router(logits, 2);
  const at::Tensor sums = router_sums(routing, {7, 7, 0, 0});  // ties: whoever gets them
  EXPECT_NEAR(load_balancing_loss(sums, sums).item<double>(), 2.0, 1e-14);
  EXPECT_NEAR(router_z_loss(sums, sums).item<double>(), 0.0, 1e-14);
}

TEST(RouterLosses, OfPartsOfABatchAddUpThroughTheirSums) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({30, 6}, at::kDouble);
  const auto sums = [&](int64_t begin, int64_t end) {
    const Routing routing = moe_router(logits.slice(0, begin, end), 2);
    return router_sums(routing, counts_of(routing, 6));
  };
  const at::Tensor first = sums(0, 11), second = sums(11, 30), all = sums(0, 30), totals = first + second;
  for (const auto& loss : {load_balancing_loss, router_z_loss}) {
    const double whole = loss(all, all).item<double>();
    EXPECT_NEAR(loss(totals, totals).item<double>(), whole, 1e-14);
    EXPECT_NEAR((loss(first, totals) + loss(second, totals)).item<double>(), whole, 1e-14);
  }
}

}  // namespace
}  // namespace phalanx::ops
