#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <tuple>

#include "mesh_cases.h"
#include "model/parameter.h"
#include "parallel/router_totals.h"

namespace phalanx::trainer {
namespace {

using test::tiny_config;
using test::tiny_recipe;
using test::TinyOptions;

void expect_equal(const MeshRecipe& recipe, const MeshCase& mesh, const MeshRun& reference) {
  const MeshDifference d = difference(
      run_on_mesh(recipe, mesh, at::kDouble, static_cast<int64_t>(reference.losses.size())), reference);
  EXPECT_LE(d.loss, 1e-13) << mesh.text();
  EXPECT_LE(d.gradient, 1e-12) << mesh.text() << ": " << d.worst_gradient;
  EXPECT_LE(d.weight, 1e-9) << mesh.text();  // a step divides by small second moments
  std::printf("%-60s loss %.1e  gradient %.1e  weight %.1e\n", mesh.text().c_str(), d.loss, d.gradient,
              d.weight);
}

/// Every `stride`-th feasible mesh of `num_ranks` ranks against one rank in fp64. @return how many.
int64_t sweep(const TinyOptions& options, int64_t num_ranks, size_t stride, int64_t num_steps = 2) {
  const MeshRecipe recipe = tiny_recipe(options);
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, num_steps);
  const std::vector<MeshCase> cases = feasible_meshes(tiny_config(options), recipe, num_ranks, false);
  int64_t count = 0;
  for (size_t i = 0; i < cases.size(); i += stride, ++count) expect_equal(recipe, cases[i], reference);
  std::printf("%ld of %zu meshes of %ld ranks\n", static_cast<long>(count), cases.size(),
              static_cast<long>(num_ranks));
  return count;
}

// The routers' auxiliary loss is over the global batch, however ranks, stages and micro-steps share it.
TEST(MixtralMesh, EveryMeshOfTwoRanksGivesTheGradientsOfOne) {
  EXPECT_GE(sweep({.experts = 4, .z_loss = 0.01}, 2, 1), 17);
}

TEST(MixtralMesh, EveryMeshOfTwoRanksTrainsAnAdapterLikeOne) {
  sweep({.lora_rank = 3, .experts = 4}, 2, 1);
}

TEST(MixtralMesh, EveryMeshOfTwoRanksTrainsDoraLikeOne) {
  sweep({.lora_rank = 3, .dora = true, .experts = 4}, 2, 3);
}

TEST(MixtralMesh, EveryMicroBatchSizeGivesTheGradientsOfOneMicroStep) {
  MeshRecipe recipe = tiny_recipe({.experts = 4, .z_loss = 0.01});
  recipe.sizes.micro = recipe.sizes.global;
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
  for (const int64_t size : {1, 2, 4}) {
    recipe.sizes.micro = size;
    for (const int64_t dp : {1, 2}) {
      SCOPED_TRACE(size);
      expect_equal(recipe, {{.dp_shard = dp}, {}}, reference);
    }
  }
}

TEST(MixtralMesh, RecomputedLayersGiveTheGradientsOfOneRank) {
  const MeshRecipe recipe = tiny_recipe({.experts = 4});
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
  expect_equal(recipe, {{.pp = 2}, {.recompute = parallel::Recompute::kFull}}, reference);
  expect_equal(
      recipe, {{.dp_shard = 2, .tp = 2, .ep = 2}, {.zero_stage = 3, .recompute = parallel::Recompute::kFull}},
      reference);
}

TEST(MixtralMesh, MeshesOfFourRanksGiveTheGradientsOfOne) {
  EXPECT_GE(sweep({.experts = 4, .z_loss = 0.01}, 4, 5), 30);
}

TEST(MixtralMesh, MeshesOfFourRanksTrainAnAdapterLikeOne) {
  sweep({.tied = false, .lora_rank = 3, .experts = 4}, 4, 11);
}

TEST(MixtralMesh, MeshesOfEightRanksGiveTheGradientsOfOne) {
  sweep({.layers = 8, .experts = 8}, 8, 101, 1);  // a deep model magnifies what rounding leaves in a step
}

// Bytes of rows: there and back, in forward and backward. Each token has two experts, of which a balanced
// router would send half to the other rank.
TEST(MixtralMesh, RowsTravelToTheirExpertsAndBackInForwardAndBackward) {
  MeshRecipe recipe = tiny_recipe({.experts = 4});
  recipe.sizes.micro = 4;
  const MeshCase mesh{{.dp_shard = 2, .ep = 2}, {}};
  int64_t num_tokens = 0, calls = 0, bytes = 0;
  on_mesh(recipe, mesh, at::kFloat, [&](const MeshRank& rank) {
    rank.model.mesh().ep().reset_traffic();
    const int64_t tokens = rank.trainer.train_step().tokens;
    const auto traffic = rank.model.mesh().ep().traffic().by_collective.at("all_to_all");
    if (rank.world.rank() == 0) num_tokens = tokens;
    const int64_t all_calls = rank.world.all_reduce_scalar(traffic.calls),
                  all_bytes = rank.world.all_reduce_scalar(traffic.bytes);
    if (rank.world.rank() == 0) std::tie(calls, bytes) = std::tuple(all_calls, all_bytes);
  });
  const int64_t layers = 4, hidden = 32, row_bytes = hidden * 4, counts_bytes = 2 * 8;
  EXPECT_EQ(calls, 2 * layers * 5);  // of both ranks: counts, rows and outputs, and their gradients
  const double rows = static_cast<double>(bytes - 2 * layers * counts_bytes) / (layers * 4.0 * row_bytes);
  EXPECT_EQ(rows, std::floor(rows));  // whole rows travel, none is padded
  EXPECT_GT(rows, 0.25 * static_cast<double>(num_tokens) * 2);
  EXPECT_LT(rows, 0.75 * static_cast<double>(num_tokens) * 2);
}

// All tokens go to the experts of one rank: the other gets no row, and nothing is dropped.
TEST(MixtralMesh, RoutersThatSendAllTokensToOneRankGiveTheGradientsOfOne) {
  MeshRecipe recipe = tiny_recipe({.experts = 4});
  const auto fill = recipe.fill;
  recipe.fill = [fill](const TrainedModel& trained, at::ScalarType compute) {
    fill(trained, compute);
    const at::NoGradGuard no_grad;
    for (const auto& [name, parameter] : model::all_parameters(*trained.model)) {
      if (name.ends_with("gate.weight")) at::Tensor(parameter).zero_();  // ties go to the first experts
    }
  };
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 1);
  for (const int64_t zero : {0, 3}) {
    const MeshCase mesh{{.dp_shard = 2, .ep = 2}, {.zero_stage = zero, .bucket_bytes = 4096}};
    const MeshDifference d = difference(run_on_mesh(recipe, mesh, at::kDouble, 1), reference);
    EXPECT_LE(d.loss, 1e-13);
    EXPECT_LE(d.gradient, 1e-12) << d.worst_gradient;
  }
}

TEST(MixtralMesh, ExpertParallelismThatDoesNotFitIsRefusedWithTheValidChoices) {
  const auto reason = [](const TinyOptions& options, const parallel::MeshShape& shape, bool invariant) {
    const auto reasons = parallel::why_not(tiny_config(options), shape, {.mesh_invariant = invariant});
    return reasons.size() == 1 ? reasons[0] : std::to_string(reasons.size()) + " reasons";
  };
  EXPECT_EQ(reason({.experts = 4}, {.dp_shard = 6, .ep = 3}, false),
            "parallel.ep is 3 but must divide num_local_experts = 4 and the 6 ranks of dp (of one replica) x "
            "cp; try 1, 2");
  EXPECT_EQ(reason({}, {.dp_shard = 2, .ep = 2}, false),
            "parallel.ep is 2 but llama has no experts; leave it out");
  EXPECT_NE(reason({.experts = 4}, {.dp_shard = 2, .ep = 2}, true).find("must be 1 with run.determinism"),
            std::string::npos);
}

// A planted bug: each rank takes its own tokens for all there are.
TEST(MixtralMesh, StatisticsOfLocalTokensOnlyAreSeenInTheLoss) {
  MeshRecipe recipe = tiny_recipe({.experts = 4});
  recipe.sizes.micro = 4;  // one micro-step on each rank
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
  const MeshCase two{{.dp_shard = 2}, {}};
  const auto local_only = [](parallel::DistributedModel& model) {
    parallel::find_router_loss(model.model())->reset_totals();
  };
  expect_equal(recipe, two, reference);
  const MeshDifference wrong = difference(run_on_mesh(recipe, two, at::kDouble, 2, local_only), reference);
  EXPECT_GE(wrong.loss, 1e-3);
  EXPECT_GE(wrong.gradient, 1e-3);
}

}  // namespace
}  // namespace phalanx::trainer
