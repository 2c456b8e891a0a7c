#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/random.h"
#include "mesh_cases.h"
#include "trainer/online/critic.h"
#include "trainer/online/ledger.h"
#include "trainer/online/policy_method.h"

namespace phalanx::trainer {
namespace {

namespace fs = std::filesystem;
using Sets = std::vector<std::string>;

/// Recorded answers, a config that learns from them, and what comes of it.
class PpoMesh : public testing::Test {
 protected:
  PpoMesh() : folder_(fs::temp_directory_path() / ("ppo_mesh_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "rollouts.jsonl") << to_jsonl(recorded());
  }
  ~PpoMesh() override { fs::remove_all(folder_); }

  /// 16 prompts of two to four tokens with an answer of one to six each, every fifth without a reward.
  static Generation recorded() {
    Generation generation;
    for (int32_t i = 0; i < 16; ++i) {
      const auto draw = [i](int64_t index, uint64_t below) {
        return static_cast<int32_t>(
            core::random_bits(8, static_cast<uint64_t>(i), static_cast<uint64_t>(index)) % below);
      };
      const auto ids = [&](int32_t length, int64_t first) {
        std::vector<int32_t> drawn;
        for (int32_t t = 0; t < length; ++t) drawn.push_back(draw(first + t, 50));
        return drawn;
      };
      Rollout rollout;
      rollout.ids = ids(1 + draw(0, 6), 100);
      if (i % 5 != 4) rollout.reward = draw(1, 100) / 50.0 - 1;
      rollout.finish_reason = i % 3 == 0 ? "length" : "stop";
      generation.push_back({i, "", ids(2 + draw(2, 3), 200), {rollout}});
    }
    return generation;
  }

  /// Fresh where there is one for each run: no run finds the generations of another.
  struct Setting {
    Setting(const fs::path& folder, Sets sets)
        : config(core::Config::defaults(std::move(sets))),
          setup(config),
          alone(comm::make_single_communicator()),
          task(find_method("ppo").open(config, setup, *alone)) {
      fs::remove_all(folder / "run");
    }
    core::Config config;
    ModelSetup setup;
    std::unique_ptr<comm::Communicator> alone;
    std::shared_ptr<const Task> task;
  };

  Sets sets(const Sets& more) const {
    Sets all = {"model.family=llama",
                "model.hidden_size=32",
                "model.intermediate_size=48",
                "model.num_hidden_layers=4",
                "model.num_attention_heads=4",
                "model.num_key_value_heads=2",
                "model.initializer_range=0.3",
                "model.tie_word_embeddings=true",
                "model.tokenizer=" + std::string(PHALANX_SOURCE_DIR) + "/tests/launch/fixture/tokenizer",
                "method.name=ppo",
                "method.rollouts=" + (folder_ / "rollouts.jsonl").string(),
                "method.num_iterations=2",
                "method.adap_kl_ctrl=true",
                "method.horizon=20",
                "method.vf_coef=0.5",
                "method.missing_eos_penalty=0.5",
                "run.output_dir=" + (folder_ / "run").string(),
                "train.global_batch_size=8"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  MeshRun run(const Sets& more, const MeshCase& mesh, at::ScalarType compute, int64_t steps,
              int64_t micro = 1, bool has_adapter = false) const {
    const Setting setting(folder_, sets(more));
    MeshRecipe recipe = test::tiny_recipe();
    recipe.build = [&](at::ScalarType dtype) {
      if (!has_adapter) return build_extended_model(setting.config, setting.setup, dtype);
      TrainedModel trained = test::adapted_model(setting.setup.config(), {.r = 3}, dtype);
      add_value_head(*trained.model, dtype, 7);
      return trained;
    };
    recipe.fill = [&](const TrainedModel& trained, at::ScalarType dtype) {
      fill_trained_model(trained, setting.setup, dtype, 11);
    };
    recipe.task = setting.task;
    recipe.sizes = {8, micro};
    return run_on_mesh(recipe, mesh, compute, steps);
  }

  void expect_same_everywhere(const Sets& more, const std::vector<MeshCase>& meshes,
                              bool has_adapter = false) {
    const MeshRun reference = run(more, {}, at::kDouble, 3, 1, has_adapter);
    ASSERT_GT(reference.grad_norms[0], 1e-3);
    ASSERT_GT(reference.gradients[0].at("critic.score.weight").norm().item<double>(), 1e-4);
    const auto expect_same = [&](const MeshCase& mesh, int64_t micro) {
      const MeshDifference d = difference(run(more, mesh, at::kDouble, 3, micro, has_adapter), reference);
      EXPECT_LE(d.loss, 1e-11) << mesh.text() << ", micro_batch_size " << micro;
      EXPECT_LE(d.gradient, 1e-11) << mesh.text() << ": " << d.worst_gradient;
      EXPECT_LE(d.weight, 1e-6) << mesh.text();
    };
    for (const MeshCase& mesh : meshes) expect_same(mesh, 1);
    expect_same({}, 4);
    expect_same({{.dp_shard = 2}, {}}, 4);
  }

  void expect_same_bits(const Sets& more, const std::vector<MeshCase>& meshes, bool has_adapter = false) {
    const auto invariant = [](MeshCase mesh) {
      mesh.options.mesh_invariant = true;
      return mesh;
    };
    const MeshRun one = run(more, invariant({}), at::kFloat, 3, 1, has_adapter);
    for (const MeshCase& mesh : meshes) {
      const MeshRun other = run(more, invariant(mesh), at::kFloat, 3, 1, has_adapter);
      EXPECT_EQ(other.losses, one.losses) << mesh.text();
      for (const auto& [name, weight] : one.weights)
        EXPECT_TRUE(at::equal(other.weights.at(name), weight)) << mesh.text() << ": " << name;
    }
  }

  fs::path folder_;
};

const std::vector<MeshCase>& meshes_of_ppo() {
  static const std::vector<MeshCase> cases = {
      {{.dp_shard = 2}, {}},
      {{.dp_shard = 2}, {.zero_stage = 2, .bucket_bytes = 4096}},
      {{.dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}},
      {{.pp = 2}, {}},
      {{.pp = 2}, {.pipeline = {parallel::PipelineScheduleKind::kZeroBubbleV, 2}}},
      {{.tp = 2}, {}},
      {{.tp = 2}, {.tensor = {.sequence_parallel = true}}},
      {{.cp = 2}, {.context = parallel::ContextKind::kRing}},
      {{.cp = 2}, {.context = parallel::ContextKind::kUlysses}},
      {{.pp = 2, .dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}}};
  return cases;
}

TEST_F(PpoMesh, AValueHeadIsTheSameEverywhere) {
  expect_same_everywhere({}, meshes_of_ppo());
}

TEST_F(PpoMesh, AValueHeadBesideAnAdapterIsTheSameEverywhere) {
  expect_same_everywhere(
      {}, {{{.dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}}, {{.pp = 2}, {}}, {{.tp = 2}, {}}},
      /*has_adapter=*/true);
}

TEST_F(PpoMesh, ASeparateCriticIsTheSameEverywhere) {
  expect_same_everywhere({"method.critic=separate"},
                         {{{.dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}},
                          {{.pp = 2}, {.pipeline = {parallel::PipelineScheduleKind::kZeroBubbleV, 2}}},
                          {{.tp = 2}, {.tensor = {.sequence_parallel = true}}},
                          {{.cp = 2}, {.context = parallel::ContextKind::kRing}}});
}

TEST_F(PpoMesh, StagesOfATiedModelAreNoMeshInvariantRun) {
  EXPECT_THROW(run({}, {{.pp = 2}, {.mesh_invariant = true}}, at::kFloat, 1), core::Error);
}

TEST_F(PpoMesh, MeshInvariantRunsHaveTheSameBits) {
  expect_same_bits({}, {{{.dp_shard = 2}, {}}, {{.dp_shard = 4}, {.zero_stage = 3, .bucket_bytes = 4096}}});
  expect_same_bits({}, {{{.pp = 2}, {}}, {{.pp = 2, .dp_shard = 2}, {.zero_stage = 1, .bucket_bytes = 4096}}},
                   /*has_adapter=*/true);
  expect_same_bits({"method.critic=separate"}, {{{.dp_shard = 4}, {.zero_stage = 3, .bucket_bytes = 4096}}});
}

}  // namespace
}  // namespace phalanx::trainer
