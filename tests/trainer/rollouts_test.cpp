#include "trainer/rollouts.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "mesh_cases.h"
#include "ops/batch_invariant.h"
#include "trainer/sample_sums.h"

namespace phalanx::trainer {
namespace {

using generate::Completion;
using test::tiny_config;
using test::tiny_recipe;
using test::TinyOptions;

using Prompts = std::vector<std::vector<int32_t>>;
constexpr int64_t kGroup = 4;

const Prompts kRolloutPrompts = {{5, 9, 3}, {4, 4, 8, 20, 31, 2, 7}, {40, 2}};

generate::GenerateOptions drawn(bool batch_invariant, double temperature = 1.0) {
  generate::GenerateOptions options{.max_new_tokens = 20};
  options.sampling = {.temperature = temperature, .top_k = 30, .top_p = 0.98, .seed = 3};
  options.step = 7;
  options.stop_ids = {11};
  options.rollout.max_batch_size = 5;
  options.rollout.prefill_tokens = 4;
  options.rollout.batch_invariant = batch_invariant;
  return options;
}

/// Prompt and completion as one sample, with a label where the completion was drawn.
data::Sequence trained_sequence(const std::vector<int32_t>& prompt, const Completion& completion) {
  data::Sequence sequence;
  sequence.input_ids = prompt;
  sequence.input_ids.insert(sequence.input_ids.end(), completion.ids.begin(), completion.ids.end());
  for (size_t t = 0; t < sequence.input_ids.size(); ++t) {
    const bool is_label = t + 1 >= prompt.size() && t + 1 < sequence.input_ids.size();
    sequence.labels.push_back(is_label ? sequence.input_ids[t + 1]
                                       : static_cast<int32_t>(data::kIgnoredLabel));
    sequence.position_ids.push_back(static_cast<int32_t>(t));
  }
  sequence.lengths = {static_cast<int32_t>(sequence.input_ids.size())};
  sequence.record_ids = {0};
  return sequence;
}

/// What a training step says of all drawn tokens, in their order; empty where the last layers are elsewhere.
std::vector<double> trained_logprobs(const MeshRank& rank, const Prompts& prompts,
                                     const std::vector<Completion>& completions, double temperature) {
  const at::NoGradGuard no_grad;
  std::vector<data::Sequence> sequences;
  for (size_t i = 0; i < completions.size(); ++i)
    sequences.push_back(trained_sequence(prompts[i / kGroup], completions[i]));
  const data::Batch batch = data::join(sequences);
  const at::Tensor hidden = rank.model.schedule().forward(model_input(batch, at::kCPU)).hidden;
  std::vector<double> all;
  if (rank.model.has_output()) {
    const at::Tensor rows = row_logprobs(rank.model.model(), batch, hidden, temperature).to(at::kDouble);
    for (size_t i = 0; i < batch.labels.size(); ++i) {
      if (batch.labels[i] != data::kIgnoredLabel) all.push_back(rows.const_data_ptr<double>()[i]);
    }
  }
  rank.model.drop_gathered();
  return all;
}

struct Compared {
  std::vector<Completion> completions;
  double largest = 0, mean_kl = 0;  // of |difference|; mean of exp(d) - 1 - d
};

Compared compare_on(const MeshCase& mesh, at::ScalarType dtype, const generate::GenerateOptions& options,
                    const TinyOptions& tiny = {}) {
  std::mutex mutex;
  Compared compared;
  bool seen = false;
  on_mesh(tiny_recipe(tiny), mesh, dtype, [&](const MeshRank& rank) {
    const std::vector<Completion> completions = rollouts(rank.model, kRolloutPrompts, kGroup, options);
    const ops::BatchInvariant scope(options.rollout.batch_invariant);
    const std::vector<double> trained =
        trained_logprobs(rank, kRolloutPrompts, completions, options.sampling.temperature);
    std::vector<double> drawn_logprobs;
    for (const Completion& c : completions)
      drawn_logprobs.insert(drawn_logprobs.end(), c.logprobs.begin(), c.logprobs.end());
    const std::scoped_lock lock(mutex);
    if (!seen) compared.completions = completions;
    seen = true;
    if (!rank.model.has_output()) return;
    ASSERT_EQ(trained.size(), drawn_logprobs.size());
    double kl = 0;
    for (size_t i = 0; i < trained.size(); ++i) {
      const double d = trained[i] - drawn_logprobs[i];
      compared.largest = std::max(compared.largest, std::abs(d));
      kl += std::expm1(d) - d;
    }
    compared.mean_kl = std::max(compared.mean_kl, kl / static_cast<double>(trained.size()));
  });
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
    const std::vector<Completion> alone = compare_on({}, dtype, drawn(true)).completions;
    for (const MeshCase& mesh : kExactMeshes) {
      const Compared compared = compare_on(mesh, dtype, drawn(true));
      EXPECT_EQ(compared.largest, 0) << mesh.text() << " " << dtype;
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
    EXPECT_EQ(compare_on(mesh_of(2, 1, 1, 0), dtype, drawn(true, 0.7), tiny).largest, 0) << dtype;
}

TEST(Rollouts, BatchInvariantLogprobsHoldForExperts) {
  EXPECT_EQ(compare_on({}, at::kFloat, drawn(true), {.experts = 4}).largest, 0);
}

TEST(Rollouts, OtherwiseLogprobsAreNearThoseOfTheTrainingStep) {
  std::vector<MeshCase> meshes = kExactMeshes;
  meshes.push_back(mesh_of(1, 2, 1, 0));
  for (const MeshCase& mesh : meshes) {
    EXPECT_LE(compare_on(mesh, at::kFloat, drawn(false)).largest, 1e-5) << mesh.text();
    EXPECT_LE(compare_on(mesh, at::kBFloat16, drawn(false)).mean_kl, 1e-4) << mesh.text();
  }
}

TEST(Rollouts, ASampleIsNamedBySeedStepPromptAndPlaceInItsGroup) {
  on_mesh(tiny_recipe(), {}, at::kDouble, [&](const MeshRank& rank) {
    generate::GenerateOptions options = drawn(false);
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
