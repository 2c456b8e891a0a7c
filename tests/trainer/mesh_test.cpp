#include "mesh_cases.h"
#include "trainer/mesh_diagnosis.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <cstdlib>

namespace phalanx::trainer {
namespace {

using test::tiny_config;
using test::tiny_recipe;
using test::TinyOptions;

struct Worst {
  MeshDifference difference;
  int64_t num_meshes = 0;
};

/// Every `stride`-th feasible mesh of `num_ranks` ranks against one rank in fp64.
Worst sweep(const TinyOptions& options, int64_t num_ranks, size_t stride, double loss_limit,
            double gradient_limit, at::ScalarType compute = at::kDouble) {
  const MeshRecipe recipe = tiny_recipe(options);
  const MeshRun reference = run_on_mesh(recipe, {}, compute, 2);
  const std::vector<MeshCase> cases = feasible_meshes(tiny_config(options), recipe, num_ranks, false);
  if (const char* set = std::getenv("PHALANX_MESH_STRIDE")) stride = std::stoul(set);
  Worst worst;
  for (size_t i = 0; i < cases.size(); i += stride) {
    const MeshDifference d = difference(run_on_mesh(recipe, cases[i], compute, 2), reference);
    EXPECT_LE(d.loss, loss_limit) << cases[i].text();
    EXPECT_LE(d.gradient, gradient_limit) << cases[i].text() << ": " << d.worst_gradient;
    EXPECT_LE(d.weight, 1e3 * gradient_limit) << cases[i].text();  // a step divides by small second moments
    worst.difference.loss = std::max(worst.difference.loss, d.loss);
    worst.difference.gradient = std::max(worst.difference.gradient, d.gradient);
    ++worst.num_meshes;
    std::printf("%-60s loss %.1e  gradient %.1e  weight %.1e\n", cases[i].text().c_str(), d.loss, d.gradient,
                d.weight);
  }
  std::printf("%ld of %zu meshes of %ld ranks\n", static_cast<long>(worst.num_meshes), cases.size(),
              static_cast<long>(num_ranks));
  return worst;
}

TEST(Mesh, EveryMeshOfTwoRanksGivesTheGradientsOfOne) {
  EXPECT_GE(sweep({}, 2, 1, 1e-13, 1e-12).num_meshes, 15);
}

TEST(Mesh, EveryMeshOfTwoRanksGivesTheGradientsOfOneUntiedWithBiases) {
  sweep({.tied = false, .biases = true}, 2, 1, 1e-13, 1e-12);
}

TEST(Mesh, EveryMeshOfTwoRanksTrainsAnAdapterLikeOne) {
  sweep({.lora_rank = 3}, 2, 1, 1e-13, 1e-12);
}

TEST(Mesh, EveryMeshOfTwoRanksTrainsDoraAndWholeModulesLikeOne) {
  sweep({.tied = false,
         .biases = true,
         .lora_rank = 3,
         .dora = true,
         .modules_to_save = {"lm_head", "embed_tokens"}},
        2, 1, 1e-13, 1e-12);
}

TEST(Mesh, MeshesOfFourRanksTrainDoraLikeOne) {
  sweep({.lora_rank = 3, .dora = true}, 4, 9, 1e-13, 1e-12);
}

TEST(Mesh, MeshesOfFourRanksGiveTheGradientsOfOne) {
  sweep({}, 4, 3, 1e-13, 1e-12);
}

TEST(Mesh, MeshesOfEightRanksGiveTheGradientsOfOne) {
  sweep({.layers = 8}, 8, 23, 1e-13, 1e-12);
}

/// In a narrower dtype: within the bound that rounding of the one-rank run against fp64 gives.
void expect_within_bound(at::ScalarType compute, const TinyOptions& options = {}) {
  const MeshRecipe recipe = tiny_recipe(options);
  const MeshRun exact = run_on_mesh(recipe, {}, at::kDouble, 1),
                reference = run_on_mesh(recipe, {}, compute, 1);
  const MeshBound bound = rounding_bound(reference, exact, compute);
  std::printf("bound: loss %.1e  gradient %.1e\n", bound.loss, bound.gradient);
  for (const int64_t num_ranks : {2, 4}) {
    const std::vector<MeshCase> cases = feasible_meshes(tiny_config(), recipe, num_ranks, false);
    for (size_t i = 0; i < cases.size(); i += num_ranks == 2 ? 1 : 7) {
      const MeshDifference d = difference(run_on_mesh(recipe, cases[i], compute, 1), reference);
      EXPECT_LE(d.loss, bound.loss) << cases[i].text();
      EXPECT_LE(d.gradient, bound.gradient) << cases[i].text() << ": " << d.worst_gradient;
    }
  }
}

TEST(Mesh, InSinglePrecisionStaysWithinTheCalibratedBound) {
  expect_within_bound(at::kFloat);
}

TEST(Mesh, InBf16StaysWithinTheCalibratedBound) {
  // With weights as small as real models have; larger ones magnify the rounding of bf16.
  expect_within_bound(at::kBFloat16, {.initializer_range = 0.1});
}

TEST(Mesh, UnevenHeadsAndFeaturesGiveTheGradientsOfOne) {
  const TinyOptions nine_heads{.heads = 9, .kv_heads = 3};
  const MeshRecipe recipe = tiny_recipe(nine_heads);
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
  for (const bool sequence_parallel : {false, true}) {
    const MeshCase uneven{{.dp_shard = 2, .tp = 2},
                          {.zero_stage = 1, .tensor = {sequence_parallel, /*allow_uneven=*/true}}};
    const MeshDifference d = difference(run_on_mesh(recipe, uneven, at::kDouble, 2), reference);
    EXPECT_LE(d.loss, 1e-13);
    EXPECT_LE(d.gradient, 1e-12) << d.worst_gradient;
  }
}

TEST(Mesh, RecomputedLayersGiveTheBitsOfKeptOnes) {
  const MeshRecipe recipe = tiny_recipe();
  const MeshRun kept = run_on_mesh(recipe, {{}, {.recompute = parallel::Recompute::kNone}}, at::kFloat, 3);
  for (const auto recompute : {parallel::Recompute::kSelective, parallel::Recompute::kFull}) {
    const MeshRun again = run_on_mesh(recipe, {{}, {.recompute = recompute}}, at::kFloat, 3);
    EXPECT_EQ(again.losses, kept.losses);
    for (const auto& [name, weight] : kept.weights)
      EXPECT_TRUE(at::equal(again.weights.at(name), weight)) << name;
  }
  const MeshCase sharded{{.dp_shard = 2},
                         {.zero_stage = 3, .bucket_bytes = 4096, .recompute = parallel::Recompute::kFull}};
  EXPECT_LE(difference(run_on_mesh(recipe, sharded, at::kDouble, 2), run_on_mesh(recipe, {}, at::kDouble, 2))
                .gradient,
            1e-12);
}

/// Bits after 20 steps on meshes that differ in data parallelism, sharding, stages and accumulation.
void expect_equal_bits(const TinyOptions& options, at::ScalarType compute) {
  const MeshRecipe recipe = tiny_recipe(options);
  const auto mesh = [](parallel::MeshShape shape, int64_t zero) {
    return MeshCase{shape, {.zero_stage = zero, .bucket_bytes = 4096, .mesh_invariant = true}};
  };
  const MeshRun one = run_on_mesh(recipe, mesh({}, 0), compute, 20);
  for (const MeshCase& other :
       {mesh({.dp_shard = 2}, 0), mesh({.dp_shard = 4}, 0), mesh({.dp_shard = 8}, 0),
        mesh({.dp_shard = 2}, 1), mesh({.dp_shard = 4}, 1), mesh({.dp_shard = 2}, 2),
        mesh({.dp_shard = 4}, 2), mesh({.dp_shard = 2}, 3), mesh({.dp_shard = 4}, 3),
        mesh({.dp_replicate = 2, .dp_shard = 2}, 3), mesh({.pp = 2}, 0), mesh({.pp = 4}, 0),
        mesh({.pp = 2, .dp_shard = 2}, 1), mesh({.pp = 2, .dp_shard = 2}, 3)}) {
    const MeshRun run = run_on_mesh(recipe, other, compute, 20);
    EXPECT_EQ(run.losses, one.losses) << other.text();
    EXPECT_EQ(run.grad_norms, one.grad_norms) << other.text();
    for (const auto& [name, weight] : one.weights)
      EXPECT_TRUE(at::equal(run.weights.at(name), weight)) << other.text() << ": " << name;
  }
}

TEST(MeshInvariantTraining, HasEqualBitsAfterTwentyStepsOnFourteenMeshes) {
  expect_equal_bits({.tied = false}, at::kFloat);
}
TEST(MeshInvariantTraining, HasEqualBitsAfterTwentyStepsWithATiedEmbedding) {
  expect_equal_bits({}, at::kFloat);
}
TEST(MeshInvariantTraining, HasEqualBitsAfterTwentyStepsInBf16) {
  expect_equal_bits({.tied = false}, at::kBFloat16);
}
TEST(MeshInvariantTraining, HasEqualBitsAfterTwentyStepsOfExpertsWhoseRoutersAreBalanced) {
  expect_equal_bits({.experts = 4, .z_loss = 0.01}, at::kFloat);
}
TEST(MeshInvariantTraining, HasEqualBitsAfterTwentyStepsOfAnAdapter) {
  expect_equal_bits({.lora_rank = 3}, at::kFloat);
}

}  // namespace
}  // namespace phalanx::trainer
