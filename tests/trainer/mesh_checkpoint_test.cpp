// A checkpoint knows nothing of the mesh that wrote it.
#include <unistd.h>

#include <filesystem>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/load.h"
#include "mesh_cases.h"

namespace phalanx::trainer {
namespace {

namespace fs = std::filesystem;
using parallel::PipelineScheduleKind;

struct Folder {
  Folder() : path(fs::temp_directory_path() / ("mesh_checkpoint_" + std::to_string(::getpid()))) {
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

std::vector<MeshCase> twelve_meshes() {
  const auto zero = [](int64_t stage) {
    return parallel::DistributedOptions{.zero_stage = stage, .bucket_bytes = 4096};
  };
  parallel::DistributedOptions sequence_parallel = zero(1), interleaved = zero(0), zero_bubble = zero(1);
  sequence_parallel.tensor.sequence_parallel = true;
  interleaved.pipeline = {PipelineScheduleKind::kInterleaved1F1B, 2};
  zero_bubble.pipeline = {PipelineScheduleKind::kZeroBubbleV, 2};
  return {{{}, {}},
          {{.dp_shard = 2}, zero(0)},
          {{.dp_shard = 3}, zero(1)},
          {{.dp_shard = 2}, zero(2)},
          {{.dp_shard = 4}, zero(3)},
          {{.tp = 2}, {}},
          {{.dp_shard = 2, .tp = 2}, sequence_parallel},
          {{.tp = 4}, {}},  // two ranks share each key head
          {{.pp = 2}, {}},
          {{.pp = 2}, interleaved},
          {{.pp = 2, .dp_shard = 2}, zero_bubble},
          {{.dp_replicate = 2, .dp_shard = 1, .cp = 2}, zero(3)}};
}

void save(const MeshRank& rank, const fs::path& folder, int64_t step) {
  checkpoint::CheckpointStore store(rank.world, folder.string(), {}, [](const std::string&) {});
  ASSERT_TRUE(store.save(rank.trainer.state(), step).committed);
}

void load(const MeshRank& rank, const fs::path& folder) {
  const checkpoint::Found found =
      checkpoint::open_newest(rank.world, folder.string(), [](const std::string&) {});
  checkpoint::State state = rank.trainer.state(/*for_loading=*/true);
  checkpoint::load(rank.world, found.path, found.manifest, state.tensors);
  state.scalars = found.manifest.scalars;
  rank.trainer.restore(state);
}

std::map<std::string, at::Tensor> contents(const fs::path& folder) {
  auto alone = comm::make_single_communicator();
  const checkpoint::Found found = checkpoint::open_newest(*alone, folder.string(), [](const std::string&) {});
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : found.manifest.tensors)
    tensors.emplace(entry.name, checkpoint::load_tensor(found.path, found.manifest, entry.name));
  return tensors;
}

void expect_same(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b,
                 const std::string& where) {
  ASSERT_EQ(a.size(), b.size()) << where;
  for (const auto& [name, tensor] : a)
    EXPECT_TRUE(b.contains(name) && at::equal(b.at(name), tensor)) << where << ": " << name;
}

std::vector<MeshCase> five_meshes_of_experts() {
  const auto zero = [](int64_t stage) {
    return parallel::DistributedOptions{.zero_stage = stage, .bucket_bytes = 4096};
  };
  return {{{}, {}},
          {{.dp_shard = 2, .ep = 2}, zero(0)},
          {{.dp_shard = 4, .ep = 2}, zero(3)},
          {{.dp_replicate = 2, .dp_shard = 2, .ep = 2}, zero(2)},
          {{.pp = 2, .dp_shard = 2, .tp = 2, .ep = 2}, zero(1)}};
}

/// Saved on A after a step, loaded and saved on B, loaded and saved on A, for all ordered pairs. Training
/// goes on.
void expect_all_pairs(const test::TinyOptions& options, at::ScalarType compute,
                      const std::vector<MeshCase>& meshes = twelve_meshes()) {
  MeshRecipe recipe = test::tiny_recipe(options);
  recipe.sizes.global = 12;
  const Folder folder;
  size_t num_pairs = 0;
  double next_loss = 0;
  for (size_t a = 0; a < meshes.size(); ++a) {
    const fs::path first = folder.path / ("first" + std::to_string(a));
    on_mesh(recipe, meshes[a], compute, [&](const MeshRank& rank) {
      rank.trainer.train_step();
      save(rank, first, 1);
    });
    const auto expected = contents(first);
    for (size_t b = 0; b < meshes.size(); ++b) {
      if (a == b) continue;
      const std::string where = meshes[a].text() + " -> " + meshes[b].text();
      const fs::path second = folder.path / "second", third = folder.path / "third";
      on_mesh(recipe, meshes[b], compute, [&](const MeshRank& rank) {
        load(rank, first);
        save(rank, second, 1);
        const double loss = rank.trainer.train_step().loss;
        if (rank.world.rank() > 0) return;
        if (next_loss == 0) next_loss = loss;
        EXPECT_NEAR(loss, next_loss, 1e-2 * next_loss) << where;
      });
      expect_same(contents(second), expected, where);
      on_mesh(recipe, meshes[a], compute, [&](const MeshRank& rank) {
        load(rank, second);
        save(rank, third, 1);
      });
      expect_same(contents(third), expected, where + " -> " + meshes[a].text());
      fs::remove_all(second);
      fs::remove_all(third);
      ++num_pairs;
    }
  }
  EXPECT_EQ(num_pairs, meshes.size() * (meshes.size() - 1));
}

TEST(MeshCheckpoint, IsReadAndWrittenWithEqualBitsByAllPairsOfTwelveMeshesInBf16) {
  expect_all_pairs({}, at::kBFloat16);
}

TEST(MeshCheckpoint, OfAnAdapterIsReadAndWrittenWithEqualBitsByAllPairsOfTwelveMeshes) {
  expect_all_pairs({.tied = false, .lora_rank = 3}, at::kFloat);
}

TEST(MeshCheckpoint, OfExpertsIsReadAndWrittenWithEqualBitsByAllPairsOfFiveMeshes) {
  expect_all_pairs({.experts = 4}, at::kBFloat16, five_meshes_of_experts());
}

TEST(MeshCheckpoint, OfAnAdapterOfExpertsIsReadAndWrittenWithEqualBitsByAllPairsOfFiveMeshes) {
  expect_all_pairs({.lora_rank = 3, .experts = 4}, at::kFloat, five_meshes_of_experts());
}

}  // namespace
}  // namespace phalanx::trainer
