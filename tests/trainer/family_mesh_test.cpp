#include <ATen/ATen.h>

#include <cstdio>

#include "mesh_cases.h"
#include "model/causal_lm.h"
#include "parallel/distributed_model.h"

namespace phalanx::trainer {
namespace {

/// A tiny model of every family: windows shorter than the samples, soft caps, scaled angles.
model::TransformerConfig tiny_family(const std::string& name) {
  model::TransformerConfig c = model::find_family(name).defaults;
  const model::TransformerConfig sizes = test::tiny_config();
  c.model_type = name;
  c.vocab_size = sizes.vocab_size;
  c.hidden_size = sizes.hidden_size;
  c.intermediate_size = sizes.intermediate_size;
  c.num_hidden_layers = 2;
  c.num_attention_heads = sizes.num_attention_heads;
  c.num_key_value_heads = name == "gpt2" ? sizes.num_attention_heads : sizes.num_key_value_heads;
  c.head_dim = sizes.head_dim;
  c.max_position_embeddings = 64;
  c.initializer_range = 0.2;
  c.pad_token_id = 0;
  if (c.sliding_window > 0) c.sliding_window = 4;
  if (name.starts_with("gemma")) {
    c.sliding_layers = {true, false};
    c.query_pre_attn_scalar = 5;
  }
  if (name == "gemma2") c.attn_logit_softcapping = c.final_logit_softcapping = 3;
  if (c.num_local_experts > 0) {
    c.num_local_experts = 4;
    c.num_experts_per_tok = 2;
    c.moe_intermediate_size = 16;
    c.mlp_only_layers = {1};
    c.output_router_logits = true;
  }
  return c;
}

MeshRecipe recipe_of(const model::TransformerConfig& config) {
  MeshRecipe recipe = test::tiny_recipe({.vocab = config.vocab_size});
  recipe.build = [config](at::ScalarType) { return TrainedModel{model::build(config), std::nullopt}; };
  return recipe;
}

class FamilyMesh : public testing::TestWithParam<const char*> {};

TEST_P(FamilyMesh, EveryMeshOfTwoRanksGivesTheGradientsOfOne) {
  const model::TransformerConfig config = tiny_family(GetParam());
  const MeshRecipe recipe = recipe_of(config);
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
  const std::vector<MeshCase> cases = feasible_meshes(config, recipe, 2, false);
  EXPECT_GE(cases.size(), 8U);
  for (const MeshCase& mesh : cases) {
    const MeshDifference d = difference(run_on_mesh(recipe, mesh, at::kDouble, 2), reference);
    EXPECT_LE(d.loss, 1e-12) << mesh.text();
    EXPECT_LE(d.gradient, 1e-11) << mesh.text() << ": " << d.worst_gradient;
    std::printf("%-12s %-60s loss %.1e  gradient %.1e\n", GetParam(), mesh.text().c_str(), d.loss,
                d.gradient);
  }
}

// Several of the model's matrices are one in PEFT's there, and share an A.
TEST(FamilyMeshAdapters, OfJoinedMatricesTrainLikeOneRank) {
  for (const char* name : {"phi3", "gpt2"}) {
    const model::TransformerConfig config = tiny_family(name);
    MeshRecipe recipe = recipe_of(config);
    recipe.build = [config](at::ScalarType compute) {
      return test::adapted_model(config, {.r = 3, .use_dora = true}, compute);
    };
    const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 2);
    for (const MeshCase& mesh : feasible_meshes(config, recipe, 2, false)) {
      const MeshDifference d = difference(run_on_mesh(recipe, mesh, at::kDouble, 2), reference);
      EXPECT_LE(d.loss, 1e-12) << name << " " << mesh.text();
      EXPECT_LE(d.gradient, 1e-11) << name << " " << mesh.text() << ": " << d.worst_gradient;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Mesh, FamilyMesh,
                         testing::Values("mistral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text",
                                         "phi3", "olmo2", "gpt2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(FamilyMeshRefusals, SayWhatASchemeCannotDoWithAFamily) {
  const auto reasons = [](const char* name, parallel::MeshShape shape,
                          parallel::DistributedOptions options = {}) {
    std::string all;
    for (const std::string& reason : parallel::why_not(tiny_family(name), shape, options))
      all += reason + "\n";
    return all;
  };
  EXPECT_NE(reasons("olmo2", {.tp = 2}).find("parallel.tp is 2 but must be 1 for olmo2"), std::string::npos);
  EXPECT_NE(
      reasons("mistral", {.cp = 2}).find("must be 1 with ring attention and a sliding window (mistral: 4"),
      std::string::npos);
  EXPECT_EQ(reasons("mistral", {.cp = 2}, {.context = parallel::ContextKind::kUlysses}), "");
  model::TransformerConfig dynamic = test::tiny_config();
  dynamic.rope_scaling = {.rope_type = "dynamic", .factor = 2};
  EXPECT_NE(parallel::why_not(dynamic, {.cp = 2}, {}).at(0).find("rope_type dynamic"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::trainer
