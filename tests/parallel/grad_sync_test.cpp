#include "parallel/grad_sync.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/run_ranks.h"
#include "ops/ops.h"
#include "parallel/schedule.h"
#include "parallel/tree_grad_sync.h"

namespace phalanx::parallel {
namespace {

/// A two-layer net on 8 samples; returns the summed gradient of all samples as `num_ranks` ranks compute it.
at::Tensor gradient(int num_ranks, int64_t samples_per_micro_step, at::ScalarType dtype,
                    bool mesh_invariant) {
  at::Tensor result;
  comm::run_ranks(num_ranks, [&](comm::Communicator& group) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
    at::Tensor first = at::randn({24, 16}, generator, at::kDouble).requires_grad_();
    at::Tensor second = at::randn({5, 24}, generator, at::kDouble).requires_grad_();
    const at::Tensor x = at::randn({8, 3, 16}, generator, at::kDouble).to(dtype);
    FlatParameters parameters({{"first", first}, {"second", second}}, dtype);
    auto sync = make_grad_sync(parameters, group, {.mesh_invariant = mesh_invariant, .bucket_bytes = 256});
    const int64_t per_rank = 8 / group.size();
    PlainSchedule().forward_backward(
        per_rank / samples_per_micro_step,
        [&](int64_t i) {
          const int64_t begin = group.rank() * per_rank + i * samples_per_micro_step;
          const at::Tensor rows = x.narrow(0, begin, samples_per_micro_step).reshape({-1, 16});
          return ops::linear(ops::linear(rows, first).tanh(), second).pow(2).sum();
        },
        *sync);
    sync->finish();
    if (group.rank() == 0) result = parameters.grad().clone();
  });
  return result;
}

TEST(GradSync, DataParallelAndAccumulationGiveTheSerialGradientInFp64) {
  const at::Tensor serial = gradient(1, 8, at::kDouble, false);
  for (int ranks : {1, 2, 4, 8}) {
    for (int64_t samples = 1; samples <= 8 / ranks; samples *= 2) {
      const at::Tensor other = gradient(ranks, samples, at::kDouble, false);
      EXPECT_LT((other - serial).norm().item<double>(), 1e-13 * serial.norm().item<double>())
          << ranks << " ranks x " << samples;
    }
  }
}

TEST(GradSync, MeshInvariantGivesEqualBitsForEveryGroupSize) {
  const at::Tensor one = gradient(1, 1, at::kFloat, true);
  for (int ranks : {2, 4, 8})
    EXPECT_TRUE(at::equal(gradient(ranks, 1, at::kFloat, true), one)) << ranks << " ranks";
}

TEST(GradSync, MeshInvariantRefusesThreeRanks) {
  EXPECT_THROW(gradient(3, 1, at::kFloat, true), std::exception);
}

TEST(TreeMerges, EveryPartOfAPowerOfTwoIsASubTreeOfTheWhole) {
  for (int64_t leaves : {8, 12, 20}) {
    const std::vector<int> whole = tree_merges(leaves);
    for (int64_t parts : {2, 4}) {
      const std::vector<int> part = tree_merges(leaves / parts);
      for (int64_t leaf = 0; leaf < leaves; ++leaf) {
        const bool ends_part = (leaf + 1) % (leaves / parts) == 0;
        const int expected = part[static_cast<size_t>(leaf % (leaves / parts))];
        if (ends_part)
          EXPECT_GE(whole[static_cast<size_t>(leaf)], expected);
        else
          EXPECT_EQ(whole[static_cast<size_t>(leaf)], expected);
      }
    }
  }
}

TEST(FlatParameters, KeepsAllBitsInTheMasterAndRoundsTheComputeCopy) {
  at::Tensor weight = at::randn({3, 5}, at::kFloat).requires_grad_();
  const at::Tensor original = weight.detach().clone();
  FlatParameters parameters({{"weight", weight}}, at::kBFloat16);
  EXPECT_TRUE(at::equal(parameters.master(parameters.slots()[0]), original));
  EXPECT_EQ(weight.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(weight.detach(), original.to(at::kBFloat16)));
}

}  // namespace
}  // namespace phalanx::parallel
