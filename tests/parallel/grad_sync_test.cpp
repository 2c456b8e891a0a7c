#include "parallel/grad_sync.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "comm/run_ranks.h"
#include "ops/ops.h"
#include "parallel/tree_grad_sync.h"

namespace phalanx::parallel {
namespace {

/// A two-layer net on 8 samples in the shape of a schedule; `samples` a micro-step.
std::vector<double> run_net(const at::Tensor& first, const at::Tensor& second, const at::Tensor& x,
                            int64_t begin, int64_t end, int64_t samples, GradSync& sync) {
  std::vector<double> losses;
  sync.begin_step((end - begin) / samples);
  for (int64_t i = 0; begin + i * samples < end; ++i) {
    const at::Tensor rows = x.narrow(0, begin + i * samples, samples).reshape({-1, 16});
    const at::Tensor loss = ops::linear(ops::linear(rows, first).tanh(), second).pow(2).sum();
    sync.before_backward(i);
    loss.backward();
    sync.after_backward(i);
    losses.push_back(loss.item<double>());
  }
  sync.finish();
  return losses;
}

struct Sum {
  at::Tensor gradient;  // of both weights, joined
  double norm = 0;
};

/// The summed gradient of all samples as `num_ranks` ranks compute it.
Sum sum_of(int num_ranks, int64_t samples_per_micro_step, at::ScalarType dtype, bool mesh_invariant,
           int64_t zero_stage = 0) {
  Sum result;
  comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
    const Mesh mesh(world, {.dp_shard = world.size()});
    auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
    at::Tensor first = at::randn({24, 16}, generator, at::kDouble).requires_grad_();
    at::Tensor second = at::randn({5, 24}, generator, at::kDouble).requires_grad_();
    const at::Tensor x = at::randn({8, 3, 16}, generator, at::kDouble).to(dtype);
    FlatParameters parameters({{"first.weight", first}, {"second.weight", second}},
                              {.compute_dtype = dtype,
                               .zero_stage = zero_stage,
                               .shard_rank = world.rank(),
                               .num_shards = world.size(),
                               .block_bytes = 256,
                               .keeps_whole_gradient = mesh_invariant});
    auto sync =
        make_grad_sync(parameters, mesh, {mesh_invariant, {{"first.weight", {}}, {"second.weight", {}}}});
    const int64_t per_rank = 8 / world.size();
    for (size_t b = 0; zero_stage == 3 && b < parameters.blocks().size(); ++b) {  // nobody gathers here
      parameters.materialise(b);
      if (world.size() > 1) world.all_gather(parameters.compute(b), parameters.owned_compute(b));
    }
    run_net(first, second, x, world.rank() * per_rank, (world.rank() + 1) * per_rank, samples_per_micro_step,
            *sync);
    const double norm = sync->grad_norm();
    at::Tensor whole = at::zeros({2, 24 * 16}, parameters.master_dtype());
    for (const OwnedPiece& piece : parameters.owned_pieces()) {
      const int64_t row = piece.slot->name == "first.weight" ? 0 : 1;
      if (zero_stage == 0 && world.rank() > 0) continue;
      whole[row].narrow(0, piece.begin, piece.numel).copy_(parameters.owned_grad(piece));
    }
    world.all_reduce(whole);  // one owner for each element
    if (world.rank() == 0) result = {whole, norm};
  });
  return result;
}

at::Tensor gradient(int num_ranks, int64_t samples_per_micro_step, at::ScalarType dtype,
                    bool mesh_invariant) {
  return sum_of(num_ranks, samples_per_micro_step, dtype, mesh_invariant).gradient;
}

TEST(GradSync, EveryZeroStageGivesTheSerialGradientAndNorm) {
  const Sum serial = sum_of(1, 8, at::kDouble, false);
  EXPECT_NEAR(serial.norm, serial.gradient.norm().item<double>(), 1e-12 * serial.norm);
  for (int64_t stage : {1, 2, 3}) {
    for (int ranks : {2, 4}) {
      for (int64_t samples : {1, 2}) {
        const Sum other = sum_of(ranks, samples, at::kDouble, false, stage);
        EXPECT_LT((other.gradient - serial.gradient).norm().item<double>(), 1e-13 * serial.norm)
            << "stage " << stage << ", " << ranks << " ranks x " << samples;
        EXPECT_NEAR(other.norm, serial.norm, 1e-13 * serial.norm);
      }
    }
  }
}

TEST(GradSync, MeshInvariantGivesEqualBitsForEveryZeroStage) {
  const Sum one = sum_of(1, 1, at::kFloat, true);
  for (int64_t stage : {0, 1, 2, 3}) {
    const Sum other = sum_of(4, 1, at::kFloat, true, stage);
    EXPECT_TRUE(at::equal(other.gradient, one.gradient)) << "stage " << stage;
    EXPECT_EQ(other.norm, one.norm) << "stage " << stage;
  }
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
  FlatParameters parameters({{"weight", weight}}, {.compute_dtype = at::kBFloat16});
  EXPECT_TRUE(at::equal(parameters.master(parameters.owned_pieces()[0]), original.view(-1)));
  EXPECT_EQ(weight.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(weight.detach(), original.to(at::kBFloat16)));
}

TEST(FlatParameters, UnitsAreTheModulesBelowTheLayerNumbers) {
  EXPECT_EQ(unit_of("model.layers.3.mlp.up_proj.weight"), "model.layers.3");
  EXPECT_EQ(unit_of("model.embed_tokens.weight"), "model.embed_tokens");
  EXPECT_EQ(unit_of("lm_head.weight"), "lm_head");
}

}  // namespace
}  // namespace phalanx::parallel
