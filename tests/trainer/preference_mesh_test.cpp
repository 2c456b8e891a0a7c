#include "preference_cases.h"

#include <mutex>

#include "core/error.h"
#include "trainer/cpo.h"
#include "trainer/dpo.h"
#include "trainer/kto.h"
#include "trainer/prm.h"
#include "trainer/reward.h"

namespace phalanx::trainer {
namespace {

using test::tiny_config;
using test::tiny_judged;
using test::tiny_pairs;
using test::tiny_reference;
using test::TinyOptions;

MeshRecipe recipe_of(const TinyOptions& options, std::shared_ptr<const Task> task) {
  MeshRecipe recipe = test::tiny_recipe(options);
  recipe.task = std::move(task);
  return recipe;
}

const std::vector<MeshCase>& meshes_of_two() {
  static const std::vector<MeshCase> cases = {
      {{.dp_shard = 2}, {}},
      {{.dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}},
      {{.pp = 2}, {}},
      {{.tp = 2}, {}},
      {{.tp = 2}, {.tensor = {.sequence_parallel = true}}},
      {{.cp = 2}, {.context = parallel::ContextKind::kRing}},
      {{.cp = 2}, {.context = parallel::ContextKind::kUlysses}},
      {{.dp_shard = 2, .tp = 2}, {.zero_stage = 1, .bucket_bytes = 4096}},
      {{.pp = 2, .dp_shard = 2}, {}}};
  return cases;
}

/// Two steps in fp64 on every mesh, and in other micro-batches, against one rank that takes sample by sample.
void expect_same_everywhere(MeshRecipe recipe) {
  recipe.sizes = {8, 1};
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
  ASSERT_GT(reference.grad_norms[0], 1e-3);
  const auto expect_same = [&](const MeshCase& mesh) {
    const MeshDifference d = difference(run_on_mesh(recipe, mesh, at::kDouble, 2), reference);
    EXPECT_LE(d.loss, 1e-13) << mesh.text() << ", micro_batch_size " << recipe.sizes.micro;
    EXPECT_LE(d.gradient, 1e-12) << mesh.text() << ": " << d.worst_gradient;
  };
  for (const MeshCase& mesh : meshes_of_two()) expect_same(mesh);
  recipe.sizes.micro = 4;
  expect_same({});
  expect_same({{.dp_shard = 2}, {}});
}

std::shared_ptr<const Task> tiny_dpo(DpoSettings settings) {
  settings.reference = tiny_reference(tiny_config());
  return dpo_task(tiny_pairs(tiny_config().vocab_size), settings);
}

TEST(PreferenceMesh, DpoIsTheSameEverywhere) {
  expect_same_everywhere(
      recipe_of({}, tiny_dpo({.loss_types = {"sigmoid", "sft"}, .loss_weights = {1, 0.3}})));
}

TEST(PreferenceMesh, DpoOfAnAdapterAgainstItsBaseIsTheSameEverywhere) {
  expect_same_everywhere(recipe_of({.lora_rank = 3}, tiny_dpo({})));
}

TEST(PreferenceMesh, SortedLossesAreTheSameEverywhere) {
  expect_same_everywhere(recipe_of({}, tiny_dpo({.loss_types = {"aot", "aot_unpaired"},
                                                 .loss_weights = {1, 1},
                                                 .loss = {.label_smoothing = 0.1}})));
}

TEST(PreferenceMesh, WeighedPairsAndLengthsAreTheSameEverywhere) {
  expect_same_everywhere(recipe_of({}, tiny_dpo({.ld_alpha = 0.4, .use_weighting = true})));
}

TEST(PreferenceMesh, ReferencesAskedBeforehandAreTheSameEverywhere) {
  DpoSettings settings{.loss_types = {"ipo"}};
  settings.reference = tiny_reference(tiny_config());
  settings.reference.precompute = true;
  auto data = std::make_shared<OfflineData>(*tiny_pairs(tiny_config().vocab_size));
  data->train.count = 21;  // the last batch is not full
  expect_same_everywhere(recipe_of({}, dpo_task(data, settings)));
}

TEST(PreferenceMesh, ReferencesAskedBeforehandGiveTheLossesOfLiveOnes) {
  std::vector<MeshRun> runs;
  for (const bool precompute : {false, true}) {
    DpoSettings settings;
    settings.reference = tiny_reference(tiny_config());
    settings.reference.precompute = precompute;
    auto data = std::make_shared<OfflineData>(*tiny_pairs(tiny_config().vocab_size));
    data->train.count = 16;
    runs.push_back(run_on_mesh(recipe_of({}, dpo_task(data, settings)), {}, at::kDouble, 2));
  }
  EXPECT_LE(difference(runs[1], runs[0]).loss, 1e-14);
}

TEST(PreferenceMesh, KtoIsTheSameEverywhere) {
  KtoSettings settings{.desirable_weight = 1.5};
  settings.reference = tiny_reference(tiny_config());
  expect_same_everywhere(recipe_of({}, kto_task(tiny_judged(tiny_config().vocab_size), settings)));
}

TEST(PreferenceMesh, BcoIsTheSameEverywhere) {
  expect_same_everywhere(
      recipe_of({}, bco_task(tiny_judged(tiny_config().vocab_size), 0.5, tiny_reference(tiny_config()))));
}

TEST(PreferenceMesh, CpoIsTheSameEverywhere) {
  expect_same_everywhere(
      recipe_of({}, cpo_task(tiny_pairs(tiny_config().vocab_size), {.loss = {.loss_type = "simpo"}})));
}

TEST(PreferenceMesh, OrpoIsTheSameEverywhere) {
  expect_same_everywhere(recipe_of({}, orpo_task(tiny_pairs(tiny_config().vocab_size), 0.5)));
}

MeshRecipe reward_recipe(const TinyOptions& options) {
  MeshRecipe recipe = recipe_of(options, reward_task(tiny_pairs(tiny_config().vocab_size), 0.01));
  recipe.build = [options](at::ScalarType compute) {
    model::TransformerConfig config = tiny_config(options);
    config.num_labels = 1;
    if (!options.lora_rank) return TrainedModel{model::build(config), std::nullopt};
    return test::adapted_model(config, {.r = *options.lora_rank, .modules_to_save = {"score"}}, compute);
  };
  return recipe;
}

TEST(PreferenceMesh, RewardModelsAreTheSameEverywhere) {
  expect_same_everywhere(reward_recipe({}));
}

TEST(PreferenceMesh, RewardModelsUnderAnAdapterTrainTheirScore) {
  const MeshRecipe recipe = reward_recipe({.lora_rank = 3});
  const MeshRun run = run_on_mesh(recipe, {}, at::kDouble, 1);
  ASSERT_TRUE(run.gradients[0].contains("score.weight"));
  EXPECT_GT(run.gradients[0].at("score.weight").norm().item<double>(), 1e-3);
}

/// Steps that end where tiny_answers() has targets, every other one right.
std::shared_ptr<const OfflineData> tiny_steps(int64_t vocab) {
  auto data = std::make_shared<OfflineData>();
  data->train = {1000, [vocab](int64_t row) {
                   data::Sequence sequence = test::tiny_answers(row, vocab, 1, 0);
                   for (int32_t& label : sequence.labels)
                     if (label != data::kIgnoredLabel) label = label % 3 == 0 ? 0 : 1;
                   return sequence;
                 }};
  data->epoch_size = 1000;
  return data;
}

TEST(PreferenceMesh, ProcessRewardModelsAreTheSameEverywhere) {
  for (const bool last_step_only : {false, true}) {
    MeshRecipe recipe = recipe_of({}, prm_task(tiny_steps(tiny_config().vocab_size), last_step_only));
    recipe.build = [](at::ScalarType) {
      model::TransformerConfig config = tiny_config();
      config.num_labels = 2;
      config.labels_tokens = true;
      return TrainedModel{model::build(config), std::nullopt};
    };
    expect_same_everywhere(recipe);
    const MeshRun run = run_on_mesh(recipe, {}, at::kDouble, 1);
    EXPECT_GT(run.gradients[0].at("score.bias").norm().item<double>(), 1e-4);
  }
}

MeshCase invariant_mesh(parallel::MeshShape shape, int64_t zero) {
  return {shape, {.zero_stage = zero, .bucket_bytes = 4096, .mesh_invariant = true}};
}

void expect_same_bits(const MeshRecipe& recipe, const std::vector<MeshCase>& meshes) {
  const MeshRun one = run_on_mesh(recipe, invariant_mesh({}, 0), at::kFloat, 3);
  for (const MeshCase& other : meshes) {
    const MeshRun run = run_on_mesh(recipe, other, at::kFloat, 3);
    EXPECT_EQ(run.losses, one.losses) << other.text();
    for (const auto& [name, weight] : one.weights)
      EXPECT_TRUE(at::equal(run.weights.at(name), weight)) << other.text() << ": " << name;
  }
}

TEST(PreferenceMesh, MeshInvariantRunsHaveTheSameBits) {
  const std::vector<MeshCase> of_data = {invariant_mesh({.dp_shard = 2}, 0),
                                         invariant_mesh({.dp_shard = 4}, 3)};
  KtoSettings settings;
  settings.reference = tiny_reference(tiny_config());
  expect_same_bits(recipe_of({}, tiny_dpo({})), of_data);
  expect_same_bits(recipe_of({}, kto_task(tiny_judged(tiny_config().vocab_size), settings)), of_data);
  const std::vector<MeshCase> of_stages = {invariant_mesh({.pp = 2}, 0),
                                           invariant_mesh({.pp = 2, .dp_shard = 2}, 1)};
  expect_same_bits(recipe_of({.lora_rank = 3}, tiny_dpo({})), of_stages);
  expect_same_bits(reward_recipe({}), of_stages);
}

TEST(PreferenceMesh, StagesOfATiedModelAreNoMeshInvariantRun) {
  EXPECT_THROW(run_on_mesh(recipe_of({}, tiny_dpo({})), invariant_mesh({.pp = 2}, 0), at::kFloat, 1),
               core::Error);
}

TEST(PreferenceMesh, BcoRemembersItsMeanInCheckpoints) {
  const MeshRecipe recipe =
      recipe_of({}, bco_task(tiny_judged(tiny_config().vocab_size), 0.5, tiny_reference(tiny_config())));
  std::mutex guard;
  std::vector<nlohmann::ordered_json> states;
  on_mesh(recipe, {{.pp = 2, .dp_shard = 2}, {}}, at::kDouble, [&](const MeshRank& rank) {
    rank.trainer.train_step();
    rank.trainer.train_step();
    const std::lock_guard lock(guard);
    states.push_back(rank.trainer.state().scalars.at("method"));
  });
  ASSERT_EQ(states.size(), 4u);
  for (const auto& state : states) EXPECT_EQ(state, states[0]);
  EXPECT_EQ(states[0]["num_rewards"], 16.0);
  EXPECT_NE(states[0]["delta"], 0.0);
}

}  // namespace
}  // namespace phalanx::trainer
