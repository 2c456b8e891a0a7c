#include "trainer/rollouts.h"

#include <algorithm>
#include <mutex>

#include "mesh_cases.h"
#include "trainer/rollout_check.h"

namespace phalanx::trainer {
namespace {

using generate::Completion;
using test::tiny_config;
using test::tiny_recipe;
using test::TinyOptions;

using Prompts = std::vector<std::vector<int32_t>>;
constexpr int64_t kGroup = 4;

const Prompts kRolloutPrompts = {{5, 9, 3}, {4, 4, 8, 20, 31, 2, 7}, {40, 2}};

generate::GenerateOptions sampled_by(bool batch_invariant, double temperature = 1.0) {
  generate::GenerateOptions options{.max_new_tokens = 20};
  options.sampling = {.temperature = temperature, .top_k = 30, .top_p = 0.98, .seed = 3};
  options.step = 7;
  options.stop_ids = {11};
  options.rollout.max_batch_size = 5;
  options.rollout.prefill_tokens = 4;
  options.rollout.batch_invariant = batch_invariant;
  return options;
}

struct Compared {
  std::vector<Completion> completions;
  LogprobMismatch mismatch;
};

Compared compare_on(const MeshCase& mesh, at::ScalarType dtype, const generate::GenerateOptions& options,
                    const TinyOptions& tiny = {}) {
  std::mutex mutex;
  Compared compared;
  on_mesh(tiny_recipe(tiny), mesh, dtype, [&](const MeshRank& rank) {
    const std::vector<Completion> completions = rollouts(rank.model, kRolloutPrompts, kGroup, options);
    const LogprobMismatch mismatch =
        logprob_mismatch(rank.model, kRolloutPrompts, completions, options.sampling.temperature,
                         options.rollout.batch_invariant, /*max_tokens=*/100);
    const std::scoped_lock lock(mutex);
    compared = {completions, mismatch};
  });
  int64_t num_tokens = 0;
  for (const Completion& completion : compared.completions)
    num_tokens += static_cast<int64_t>(completion.ids.size());
  EXPECT_EQ(compared.mismatch.num_tokens, num_tokens);
  return compared;
}

MeshCase mesh_of(int64_t dp, int64_t tp, int64_t pp, int64_t zero_stage) {
  MeshCase mesh;
  mesh.shape.dp_shard = dp;
  mesh.shape.tp = tp;
  mesh.shape.pp = pp;
  mesh.options.zero_stage = zero_stage;
  return mesh;
}

const std::vector<MeshCase> kExactMeshes = {mesh_of(1, 1, 1, 0), mesh_of(2, 1, 1, 0), mesh_of(4, 1, 1, 0),
                                            mesh_of(1, 1, 2, 0), mesh_of(2, 1, 1, 3)};

TEST(Rollouts, BatchInvariantLogprobsAreThoseOfTheTrainingStepToTheLastBit) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const std::vector<Completion> alone = compare_on({}, dtype, sampled_by(true)).completions;
    for (const MeshCase& mesh : kExactMeshes) {
      const Compared compared = compare_on(mesh, dtype, sampled_by(true));
      EXPECT_EQ(compared.mismatch.largest, 0) << mesh.text() << " " << dtype;
      ASSERT_EQ(compared.completions.size(), alone.size());
      for (size_t i = 0; i < alone.size(); ++i) {
        EXPECT_EQ(compared.completions[i].ids, alone[i].ids) << mesh.text() << " " << dtype;
        EXPECT_EQ(compared.completions[i].logprobs, alone[i].logprobs) << mesh.text() << " " << dtype;
      }
    }
  }
}

TEST(Rollouts, BatchInvariantLogprobsKnowTemperatureBiasesAndAdapters) {
  const TinyOptions tiny{.tied = false, .biases = true, .lora_rank = 3};
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    EXPECT_EQ(compare_on(mesh_of(2, 1, 1, 0), dtype, sampled_by(true, 0.7), tiny).mismatch.largest, 0)
        << dtype;
}

TEST(Rollouts, BatchInvariantLogprobsHoldForExperts) {
  EXPECT_EQ(compare_on({}, at::kFloat, sampled_by(true), {.experts = 4}).mismatch.largest, 0);
}

TEST(Rollouts, OtherwiseLogprobsAreNearThoseOfTheTrainingStep) {
  std::vector<MeshCase> meshes = kExactMeshes;
  meshes.push_back(mesh_of(1, 2, 1, 0));
  for (const MeshCase& mesh : meshes) {
    EXPECT_LE(compare_on(mesh, at::kFloat, sampled_by(false)).mismatch.largest, 1e-5) << mesh.text();
    EXPECT_LE(compare_on(mesh, at::kBFloat16, sampled_by(false)).mismatch.mean_kl, 1e-4) << mesh.text();
  }
}

TEST(Rollouts, ASampleIsNamedBySeedStepPromptAndPlaceInItsGroup) {
  on_mesh(tiny_recipe(), {}, at::kDouble, [&](const MeshRank& rank) {
    generate::GenerateOptions options = sampled_by(false);
    const auto ids_of = [&](const Prompts& prompts, int64_t group) {
      std::vector<std::vector<int32_t>> ids;
      for (const Completion& c : rollouts(rank.model, prompts, group, options)) ids.push_back(c.ids);
      return ids;
    };
    const auto all = ids_of(kRolloutPrompts, kGroup);
    EXPECT_NE(all[0], all[1]);
    options.first_prompt = 1;
    const auto second = ids_of({kRolloutPrompts[1]}, kGroup);
    EXPECT_TRUE(std::equal(second.begin(), second.end(), all.begin() + kGroup));
    EXPECT_EQ(ids_of({kRolloutPrompts[1]}, 1)[0], all[kGroup]);  // a smaller group has the same first samples
    options.first_prompt = 0;
    options.rollout.max_batch_size = 1;
    EXPECT_EQ(ids_of(kRolloutPrompts, kGroup), all);
    options.step = 8;
    EXPECT_NE(ids_of(kRolloutPrompts, kGroup), all);
  });
}

}  // namespace
}  // namespace phalanx::trainer
