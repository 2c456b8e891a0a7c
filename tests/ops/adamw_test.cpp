#include "ops/adamw.h"

#include <ATen/Parallel.h>
#include <torch/optim/adamw.h>

#include "ops/compare.h"
#include "ops/cpu/isa.h"
#include "ops/split_weights.h"

namespace phalanx::ops {
namespace {

void expect_equals_torch(at::ScalarType type, double limit) {
  at::manual_seed(1);
  const int64_t n = 1003;
  at::Tensor theirs = at::randn({n}, type).requires_grad_(), ours = theirs.detach().clone();
  at::Tensor m = at::zeros({n}, type), v = at::zeros({n}, type);
  const AdamWOptions options{1e-2, 0.9, 0.999, 1e-8, 0.1};
  torch::optim::AdamW reference(
      {theirs}, torch::optim::AdamWOptions(1e-2).betas({0.9, 0.999}).eps(1e-8).weight_decay(0.1));
  for (int64_t step = 1; step <= 100; ++step) {
    const at::Tensor g = at::randn({n}, type);
    theirs.mutable_grad() = g * 0.5;
    reference.step();
    adamw_(ours, g, m, v, options, step, 0.5);
  }
  test::expect_near(ours, theirs, {limit, limit}, "parameters after 100 steps");
}

TEST(AdamW, Equals100StepsOfTorchInDoublePrecision) {
  expect_equals_torch(at::kDouble, 1e-13);
}

TEST(AdamW, Equals100StepsOfTorchInSinglePrecisionOnEveryInstructionSet) {
  expect_equals_torch(at::kFloat, 2e-6);
  const cpu::IsaOverride pretend(cpu::Isa{});
  expect_equals_torch(at::kFloat, 2e-6);
}

void expect_split_equals_whole() {
  at::manual_seed(3);
  const int64_t n = 1003;
  at::Tensor whole = at::randn({n}), m = at::zeros({n}), v = at::zeros({n});
  at::Tensor upper = at::empty({n}, at::kBFloat16), lower = at::empty({n}, at::kShort);
  split_halves(whole, upper, lower);
  at::Tensor split_m = m.clone(), split_v = v.clone();
  const AdamWOptions options{1e-3, 0.9, 0.999, 1e-8, 0.1};
  for (int64_t step = 1; step <= 20; ++step) {
    const at::Tensor g = at::randn({n});
    adamw_(whole, g, m, v, options, step, 1.0);
    adamw_(upper, g, split_m, split_v, options, step, 1.0, lower);
  }
  EXPECT_TRUE(at::equal(join_halves(upper, lower), whole));
  EXPECT_TRUE(at::equal(split_m, m) && at::equal(split_v, v));
}

TEST(AdamW, OnSplitWeightsHasTheBitsOfWholeOnesOnEveryInstructionSet) {
  expect_split_equals_whole();
  const cpu::IsaOverride pretend(cpu::Isa{});
  expect_split_equals_whole();
}

TEST(AdamW, RefusesBf16WeightsWithoutTheirLowerHalves) {
  const at::Tensor p = at::zeros({4}, at::kBFloat16), g = at::zeros({4});
  EXPECT_THROW(adamw_(p, g, at::zeros({4}), at::zeros({4}), {1e-3, 0.9, 0.999, 1e-8, 0.0}, 1, 1.0),
               c10::Error);
}

TEST(AdamW, RefusesBuffersOfAnotherLength) {
  const at::Tensor p = at::zeros({4}), g = at::zeros({5});
  EXPECT_THROW(adamw_(p, g, at::zeros({4}), at::zeros({4}), {1e-3, 0.9, 0.999, 1e-8, 0.0}, 1, 1.0),
               c10::Error);
}

TEST(SquaredNorm, IsExactAndIndependentOfTheNumberOfThreads) {
  EXPECT_EQ(squared_norm(at::ones({(1 << 24) + 5})), (1 << 24) + 5);
  EXPECT_EQ(squared_norm(at::empty({0})), 0.0);
  at::manual_seed(2);
  const at::Tensor x = at::randn({300001});
  const int threads = at::get_num_threads();
  const double many = squared_norm(x);
  at::set_num_threads(1);
  EXPECT_EQ(squared_norm(x), many);
  at::set_num_threads(threads);
  EXPECT_NEAR(many, x.to(at::kDouble).square().sum().item<double>(), 1e-9 * many);
  EXPECT_NEAR(squared_norm(x.to(at::kBFloat16)), many, 1e-2 * many);
}

}  // namespace
}  // namespace phalanx::ops
