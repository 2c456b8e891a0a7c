#include <mutex>

#include "mesh_cases.h"
#include "trainer/rollout_check.h"
#include "trainer/rollouts.h"
#include "trainer/sample_sums.h"

namespace phalanx::trainer {
namespace {

constexpr double kHot = 1.7;

/// A tiny Gemma 2, whose logits have a soft cap.
MeshRecipe capped_recipe() {
  model::TransformerConfig config = model::find_family("gemma2").defaults;
  const model::TransformerConfig sizes = test::tiny_config();
  config.model_type = "gemma2";
  config.vocab_size = sizes.vocab_size;
  config.hidden_size = sizes.hidden_size;
  config.intermediate_size = sizes.intermediate_size;
  config.num_hidden_layers = 2;
  config.num_attention_heads = sizes.num_attention_heads;
  config.num_key_value_heads = sizes.num_key_value_heads;
  config.head_dim = sizes.head_dim;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.3;
  config.pad_token_id = 0;
  config.sliding_layers = {true, false};
  config.sliding_window = 4;
  config.query_pre_attn_scalar = 5;
  config.final_logit_softcapping = 2;
  MeshRecipe recipe = test::tiny_recipe({.vocab = config.vocab_size});
  recipe.build = [config](at::ScalarType) { return TrainedModel{model::build(config), std::nullopt}; };
  return recipe;
}

void expect_rows_of_logits(const MeshRecipe& recipe, const MeshCase& mesh) {
  on_mesh(recipe, mesh, at::kDouble, [&](const MeshRank& rank) {
    const at::NoGradGuard no_grad;
    const data::Batch batch = data::join({test::tiny_sequence(1, 53)});
    const data::Batch local = rank.model.local(batch);
    model::CausalLm& model = rank.model.model();
    const at::Tensor hidden = rank.model.schedule().forward(model_input(local, at::kCPU)).hidden;
    if (!rank.model.has_output()) return;
    at::Tensor entropies;
    const at::Tensor rows = row_logprobs(model, local, hidden, {kHot, &entropies});
    const at::Tensor log_p = at::log_softmax(model.head().logits(hidden, model.output_weight()) / kHot, 1);
    const at::Tensor wanted = labels(local, at::kCPU), counts = wanted.ne(data::kIgnoredLabel);
    const at::Tensor expected = -at::nll_loss(log_p, wanted, {}, at::Reduction::None, data::kIgnoredLabel);
    EXPECT_LE((rows - expected).abs().max().item<double>(), 1e-12) << mesh.text();
    const at::Tensor expected_entropies = -(log_p.exp() * log_p).sum(1) * counts;
    EXPECT_LE((entropies - expected_entropies).abs().max().item<double>(), 1e-12) << mesh.text();
  });
}

TEST(RowLogprobs, AreThoseOfLogitsOverTheTemperatureWithTheirEntropies) {
  for (const MeshRecipe& recipe : {capped_recipe(), test::tiny_recipe()}) {
    for (const MeshCase& mesh : {MeshCase{}, MeshCase{{.tp = 2}, {}}, MeshCase{{.pp = 2}, {}}})
      expect_rows_of_logits(recipe, mesh);
  }
}

TEST(RowLogprobs, OfSoftCappedLogitsAreWhatTheSamplerSawAtATemperature) {
  const std::vector<std::vector<int32_t>> prompts = {{5, 9, 3}, {4, 4, 8, 20, 31, 2, 7}};
  generate::GenerateOptions options{.max_new_tokens = 12};
  options.sampling = {.temperature = kHot, .seed = 3};
  for (const MeshCase& mesh : {MeshCase{}, MeshCase{{.tp = 2}, {}}}) {
    on_mesh(capped_recipe(), mesh, at::kFloat, [&](const MeshRank& rank) {
      const auto completions = rollouts(rank.model, prompts, 3, options);
      EXPECT_LE(logprob_mismatch(rank.model, prompts, completions, kHot, false).largest, 1e-5) << mesh.text();
    });
  }
}

}  // namespace
}  // namespace phalanx::trainer
