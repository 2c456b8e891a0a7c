// What a rank sends in a step and what it holds, against the formulas in docs/parallelism.md.
#include <ATen/ATen.h>

#include "mesh_cases.h"

namespace phalanx::trainer {
namespace {

/// One text of `length` tokens per sample, so that the volumes of activations are known.
MeshRecipe recipe_of(int64_t length, const test::TinyOptions& options) {
  MeshRecipe recipe = test::tiny_recipe(options);
  recipe.task = next_token_task([length, vocab = options.vocab](int64_t sample) {
    data::Sequence sequence = test::tiny_sequence(sample, vocab);
    sequence.input_ids.resize(static_cast<size_t>(length), 1);
    sequence.labels.assign(static_cast<size_t>(length), 2);
    sequence.position_ids.clear();
    for (int32_t t = 0; t < length; ++t) sequence.position_ids.push_back(t);
    sequence.lengths = {static_cast<int32_t>(length)};
    return sequence;
  });
  return recipe;
}

struct Sent {
  int64_t pp = 0, tp = 0, cp = 0, batch = 0, shard = 0, replicate = 0;  // bytes of one step on rank 0
  int64_t batch_calls = 0, shard_calls = 0;
  int64_t num_parameters = 0, num_blocks = 0;  // of this rank, with alignment gaps
};

Sent one_step(const MeshRecipe& recipe, const MeshCase& mesh, at::ScalarType compute) {
  Sent sent;
  on_mesh(recipe, mesh, compute, [&](const MeshRank& rank) {
    const parallel::Mesh& m = rank.model.mesh();
    rank.trainer.train_step();
    for (auto* group : {&m.pp(), &m.tp(), &m.cp(), &m.batch(), &m.shard(), &m.replicate()})
      group->reset_traffic();
    rank.trainer.train_step();
    if (rank.world.rank() != 0) return;
    const auto calls = [](const comm::Communicator& group) {
      int64_t count = 0;
      for (const auto& [name, traffic] : group.traffic().by_collective) count += traffic.calls;
      return count;
    };
    int64_t numel = 0;
    for (const parallel::ParameterBlock& block : rank.model.parameters().blocks()) numel += block.numel;
    sent = {m.pp().traffic().total_bytes(),
            m.tp().traffic().total_bytes(),
            m.cp().traffic().total_bytes(),
            m.batch().traffic().total_bytes(),
            m.shard().traffic().total_bytes(),
            m.replicate().traffic().total_bytes(),
            calls(m.batch()),
            calls(m.shard()),
            numel,
            static_cast<int64_t>(rank.model.parameters().blocks().size())};
  });
  return sent;
}

void expect_within_percent(int64_t bytes, double expected, const char* what) {
  EXPECT_NEAR(static_cast<double>(bytes), expected, 0.01 * expected) << what;
}

constexpr int64_t kTokens = 64, kLayers = 4;
const test::TinyOptions kBig{.layers = kLayers, .heads = 8, .kv_heads = 4, .vocab = 512, .tied = false};
constexpr double kHidden = 64, kKeys = 32;  // h and K d of it

TEST(MeshTraffic, OfDataParallelismIsTwoAllReducesOfTheGradient) {
  const Sent sent =
      one_step(recipe_of(kTokens, kBig), {{.dp_shard = 4}, {.bucket_bytes = 1 << 16}}, at::kFloat);
  expect_within_percent(sent.batch, 2.0 * 3 / 4 * sent.num_parameters * 4, "all_reduce");
  EXPECT_LE(sent.batch_calls, sent.num_blocks + 6);  // and counts, losses
}

TEST(MeshTraffic, OfZeroIsReduceScatterAndGathers) {
  const MeshRecipe recipe = recipe_of(kTokens, kBig);
  MeshRecipe one_micro_step = recipe;
  one_micro_step.sizes.micro = 2;  // 8 samples over 4 ranks
  for (const int64_t stage : {1, 2, 3}) {
    const MeshCase mesh{{.dp_shard = 4}, {.zero_stage = stage, .bucket_bytes = 1 << 16}};
    const Sent sent = one_step(one_micro_step, mesh, at::kFloat);
    // Stage 3 gathers layers twice, embedding and head once; the last norm stays whole.
    const double passes = stage == 3 ? 3 : 2, once = stage == 3 ? 2 * 512 * kHidden + kHidden : 0;
    expect_within_percent(sent.shard, 3.0 / 4 * (passes * sent.num_parameters - once) * 4, "shard");
    EXPECT_LE(sent.shard_calls, static_cast<int64_t>(passes) * sent.num_blocks + 6) << stage;
  }
}

TEST(MeshTraffic, OfTensorParallelismIsFourAllReducesPerLayer) {
  const int64_t micro_steps = 8;
  const double one = 2.0 * 1 / 2 * kTokens * kHidden * 4;  // an all_reduce of [N, h] over two ranks
  for (const bool sequence_parallel : {false, true}) {
    const MeshCase mesh{{.tp = 2}, {.tensor = {sequence_parallel, false}}};
    const Sent sent = one_step(recipe_of(kTokens, kBig), mesh, at::kFloat);
    // 4 for each layer, one for the embedding's forward, one for the head's backward
    const double norms = sequence_parallel ? (2 * kLayers + 1) * kHidden * 4 : 0;
    expect_within_percent(sent.tp, micro_steps * ((4 * kLayers + 2) * one + 3.0 * kTokens * 4) + norms, "tp");
  }
}

TEST(MeshTraffic, OfAPipelineIsOneActivationAndOneGradientPerBoundary) {
  const Sent sent = one_step(recipe_of(kTokens, kBig), {{.pp = 2}, {}}, at::kFloat);
  expect_within_percent(sent.pp, 8.0 * kTokens * kHidden * 4, "activations of rank 0");
}

TEST(MeshTraffic, OfARingIsKeysAndValuesAndTheirGradients) {
  const Sent sent = one_step(recipe_of(kTokens, kBig), {{.cp = 4}, {}}, at::kFloat);
  const double block = 3.0 * 2 * (kTokens / 4) * kKeys * 4;  // (c-1) blocks of K and V
  expect_within_percent(sent.cp, 8.0 * kLayers * (block + 2 * block), "ring");
}

TEST(MeshTraffic, OfUlyssesIsAFractionOfTheActivations) {
  const Sent sent = one_step(recipe_of(kTokens, kBig),
                             {{.cp = 4}, {.context = parallel::ContextKind::kUlysses}}, at::kFloat);
  const double forward = 3.0 / 4 * (kTokens / 4) * (2 * kHidden + 2 * kKeys) * 4;
  expect_within_percent(sent.cp, 8.0 * kLayers * 2 * forward, "ulysses");
}

/// Bytes of all different storages among these tensors.
int64_t storage_bytes(const std::vector<at::Tensor>& tensors) {
  std::map<const void*, int64_t> storages;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) storages[tensor.storage().unsafeGetStorageImpl()] = tensor.storage().nbytes();
  }
  int64_t sum = 0;
  for (const auto& [storage, bytes] : storages) sum += bytes;
  return sum;
}

TEST(MeshMemory, OfWeightsGradientsAndMomentsFollowsTheZeroStage) {
  // 20 million parameters; w = 2 (bf16), g = 4, K = 2 (lower halves of the masters) + 8 (moments) bytes
  test::TinyOptions options{.layers = 6, .heads = 32, .kv_heads = 32, .vocab = 4096, .tied = false};
  MeshRecipe recipe = test::tiny_recipe(options);
  const auto build = recipe.build;
  model::TransformerConfig config = test::tiny_config(options);
  config.hidden_size = 512;
  config.head_dim = 16;
  config.intermediate_size = 1408;
  recipe.build = [config](at::ScalarType) { return TrainedModel{model::build(config), std::nullopt}; };
  for (const int64_t stage : {0, 1, 2, 3}) {
    on_mesh(recipe, {{.dp_shard = 4}, {.zero_stage = stage}}, at::kBFloat16, [&](const MeshRank& rank) {
      parallel::FlatParameters& p = rank.model.parameters();
      std::vector<at::Tensor> held = {p.whole_grad()};
      for (size_t b = 0; b < p.blocks().size(); ++b) {
        held.push_back(p.compute(b));
        held.push_back(p.owned_compute(b));
        held.push_back(p.owned_grad(b));
      }
      for (const auto& range : p.update_ranges()) held.push_back(range.lower);
      for (const auto& [name, state] : rank.optimizer.state()) held.push_back(state);
      const double n = static_cast<double>(rank.model.num_trained()), w = 2, g = 4, k = 10, shards = 4;
      EXPECT_GT(n, 20e6);
      const double expected = stage == 0   ? (w + g + k) * n
                              : stage == 1 ? (w + g + k / shards) * n
                              : stage == 2 ? (w + (g + k) / shards) * n
                                           : (w + g + k) / shards * n;
      if (rank.world.rank() == 0) {
        EXPECT_NEAR(static_cast<double>(storage_bytes(held)), expected, 0.03 * expected) << "stage " << stage;
      }
    });
  }
}

}  // namespace
}  // namespace phalanx::trainer
