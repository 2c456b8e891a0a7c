#include "trainer/generation.h"

#include <atomic>
#include <cstdio>
#include <mutex>

#include "mesh_cases.h"

namespace phalanx::trainer {
namespace {

using generate::Completion;
using test::tiny_config;
using test::tiny_recipe;
using test::TinyOptions;

const std::vector<std::vector<int32_t>> kPrompts = {{5, 9, 3}, {7}, {4, 4, 8, 20, 31}, {40, 2}, {11, 12, 50}};

generate::GenerateOptions greedy() {
  return {.max_new_tokens = 7, .rollout = {.max_batch_size = 2}};
}

generate::GenerateOptions sampled() {
  generate::GenerateOptions options = greedy();
  options.sampling = {.temperature = 1.0, .top_k = 20, .top_p = 0.95, .seed = 3};
  return options;
}

/// What every rank of the mesh gets, which must be the same.
std::vector<Completion> answers(const MeshRecipe& recipe, const MeshCase& mesh,
                                const generate::GenerateOptions& options,
                                const std::vector<std::vector<int32_t>>& prompts = kPrompts) {
  std::mutex mutex;
  std::vector<std::vector<Completion>> of_ranks;
  on_mesh(recipe, mesh, at::kDouble, [&](const MeshRank& rank) {
    std::vector<Completion> completions = generate(rank.model, prompts, options);
    const std::scoped_lock lock(mutex);
    of_ranks.push_back(std::move(completions));
  });
  for (const std::vector<Completion>& other : of_ranks) {
    EXPECT_EQ(other.size(), of_ranks.front().size());
    for (size_t i = 0; i < other.size(); ++i) {
      EXPECT_EQ(other[i].ids, of_ranks.front()[i].ids) << mesh.text();
      EXPECT_EQ(other[i].logprobs, of_ranks.front()[i].logprobs) << mesh.text();
    }
  }
  return of_ranks.front();
}

void expect_equal(const std::vector<Completion>& actual, const std::vector<Completion>& expected,
                  const std::string& mesh) {
  ASSERT_EQ(actual.size(), expected.size()) << mesh;
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(actual[i].ids, expected[i].ids) << mesh << ", prompt " << i;
    EXPECT_EQ(actual[i].finish_reason, expected[i].finish_reason);
    for (size_t t = 0; t < expected[i].ids.size(); ++t)
      EXPECT_NEAR(actual[i].logprobs[t], expected[i].logprobs[t], 1e-5) << mesh;  // logits are fp32
  }
}

/// Every `stride`-th mesh of `num_ranks` ranks continues the prompts as one rank does.
void answer_sweep(const TinyOptions& tiny, int64_t num_ranks, size_t stride) {
  const MeshRecipe recipe = tiny_recipe(tiny);
  const auto likeliest = answers(recipe, {}, greedy()), drawn = answers(recipe, {}, sampled());
  const std::vector<MeshCase> cases = feasible_meshes(tiny_config(tiny), recipe, num_ranks, false);
  int64_t count = 0;
  for (size_t i = 0; i < cases.size(); i += stride, ++count) {
    expect_equal(answers(recipe, cases[i], greedy()), likeliest, cases[i].text());
    expect_equal(answers(recipe, cases[i], sampled()), drawn, cases[i].text());
  }
  std::printf("%ld of %zu meshes of %ld ranks\n", static_cast<long>(count), cases.size(),
              static_cast<long>(num_ranks));
}

TEST(GenerationOverRanks, EveryMeshOfTwoRanksAnswersLikeOne) {
  answer_sweep({}, 2, 1);
}

TEST(GenerationOverRanks, MeshesOfFourRanksAnswerLikeOneUntiedWithAnAdapter) {
  answer_sweep({.tied = false, .lora_rank = 3}, 4, 9);
}

TEST(GenerationOverRanks, MeshesOfEightRanksAnswerLikeOne) {
  answer_sweep({.layers = 8}, 8, 51);
}

TEST(GenerationOverRanks, ExpertsOnSeveralRanksAnswerLikeOnOne) {
  answer_sweep({.experts = 4}, 4, 13);
}

TEST(GenerationOverRanks, CopiesWithoutPromptsKeepTheOthersCompany) {
  const MeshRecipe recipe = tiny_recipe();
  MeshCase mesh;
  mesh.shape.dp_shard = 4;
  mesh.options.zero_stage = 3;
  expect_equal(answers(recipe, mesh, greedy(), {kPrompts[2]}), answers(recipe, {}, greedy(), {kPrompts[2]}),
               mesh.text());
  EXPECT_TRUE(answers(recipe, mesh, greedy(), {}).empty());
}

TEST(GenerationOverRanks, RefusesAPromptOnEveryRank) {
  MeshCase mesh;
  mesh.shape.tp = 2;
  EXPECT_THROW(answers(tiny_recipe(), mesh, greedy(), {{53}}), core::Error);
}

/// How many ranks left with core::Stopped when `rank` hears of it at its `forward`-th forward.
int num_stopped(const MeshCase& mesh, int rank, int forward) {
  std::atomic<int> count = 0;
  on_mesh(tiny_recipe(), mesh, at::kDouble, [&](const MeshRank& mine) {
    int forwards = 0;
    generate::GenerateOptions options = greedy();
    options.stop = [&forwards, is_told = mine.model.mesh().world().rank() == rank, forward] {
      return is_told && ++forwards >= forward;
    };
    try {
      generate(mine.model, kPrompts, options);
    } catch (const core::Stopped&) {
      ++count;
    }
  });
  return count;
}

TEST(GenerationOverRanks, ARequestToStopThatReachesOneRankEndsItOnAll) {
  std::vector<MeshCase> meshes(5);
  meshes[1].shape.dp_shard = 2;
  meshes[2].shape.dp_shard = 2;
  meshes[2].options.zero_stage = 3;
  meshes[3].shape.tp = 2;
  meshes[4].shape.pp = 2;
  for (const MeshCase& mesh : meshes) {
    const auto size = static_cast<int>(mesh.shape.num_ranks());
    for (int rank = 0; rank < size; ++rank) {
      EXPECT_EQ(num_stopped(mesh, rank, 1), size) << mesh.text();
      EXPECT_EQ(num_stopped(mesh, rank, 3), size) << mesh.text();
      EXPECT_EQ(num_stopped(mesh, rank, 1000), 0) << mesh.text();
    }
  }
}

}  // namespace
}  // namespace phalanx::trainer
