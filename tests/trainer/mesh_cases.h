#pragma once
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "model/initialize.h"
#include "trainer/mesh_run.h"
#include "trainer/next_token.h"

/// A tiny model and tiny data for the tests of meshes.
namespace phalanx::trainer::test {

struct TinyOptions {
  int64_t layers = 4, heads = 4, kv_heads = 2, vocab = 53;  // a vocabulary that nothing divides
  bool tied = true, biases = false;
  std::optional<int64_t> lora_rank = {};
  bool dora = false;
  std::vector<std::string> modules_to_save = {};
  int64_t experts = 0;  // more than 0: a Mixtral, two of its experts for each token
  double z_loss = 0;    // coefficient
  double initializer_range = 0.3;
};

inline model::TransformerConfig tiny_config(const TinyOptions& options = {}) {
  model::TransformerConfig c;
  c.vocab_size = options.vocab;
  c.head_dim = 8;
  c.hidden_size = options.heads * c.head_dim;
  c.intermediate_size = 48;
  c.num_hidden_layers = options.layers;
  c.num_attention_heads = options.heads;
  c.num_key_value_heads = options.kv_heads;
  c.tie_word_embeddings = options.tied;
  c.attention_bias = c.mlp_bias = options.biases;
  c.initializer_range = options.initializer_range;
  c.pad_token_id = 0;
  if (options.experts == 0) return c;
  c.model_type = "mixtral";
  c.num_local_experts = options.experts;
  c.num_experts_per_tok = 2;
  c.output_router_logits = true;
  c.router_aux_loss_coef = 0.1;
  c.router_z_loss_coef = options.z_loss;
  return c;
}

/// Sample i: one to three packed texts of together 9 to 24 tokens, some labels ignored.
inline data::Sequence tiny_sequence(int64_t sample, int64_t vocab) {
  const auto draw = [&](int64_t index, uint64_t below) {
    return static_cast<int32_t>(
        core::random_bits(5, static_cast<uint64_t>(sample), static_cast<uint64_t>(index)) % below);
  };
  data::Sequence sequence;
  const int32_t parts = 1 + draw(0, 3);
  for (int32_t part = 0; part < parts; ++part) {
    const int32_t length = (part == 0 ? 9 : 3) + draw(1 + part, 5);
    for (int32_t t = 0; t < length; ++t) {
      const auto at = static_cast<int64_t>(100 + sequence.input_ids.size());
      sequence.input_ids.push_back(draw(at, static_cast<uint64_t>(vocab)));
      const bool ignored = t + 1 == length || draw(1000 + at, 4) == 0;
      sequence.labels.push_back(ignored ? static_cast<int32_t>(data::kIgnoredLabel)
                                        : draw(at + 1, static_cast<uint64_t>(vocab)));
      sequence.position_ids.push_back(t);
    }
    sequence.lengths.push_back(length);
  }
  sequence.record_ids = {sample};
  return sequence;
}

/// With an adapter that is not at its start: B of a fresh one is zero, and with it the gradient of A; with
/// equal rows a router would not notice either.
inline TrainedModel adapted_model(const model::TransformerConfig& config, const lora::LoraOptions& options,
                                  at::ScalarType compute) {
  TrainedModel trained{model::build(config), std::nullopt};
  trained.adapter =
      lora::apply(*trained.model, options, 3, compute == at::kDouble ? at::kDouble : at::kFloat);
  const at::NoGradGuard no_grad;
  for (const lora::AdaptedLinear& m : trained.adapter->modules())
    at::Tensor(m.b).copy_(at::linspace(0.02, 0.08, m.b.numel(), m.b.options()).view_as(m.b));
  return trained;
}

inline void fill_tiny(const TrainedModel& trained, at::ScalarType compute) {
  model::initialize(*trained.model, filled_dtype(trained, compute), 11);
  if (!trained.adapter) return;
  trained.adapter->settle(*trained.model);
  const at::NoGradGuard no_grad;
  for (const lora::AdaptedLinear& m : trained.adapter->modules())  // away from the norms, where they begin
    if (m.magnitude.defined()) at::Tensor(m.magnitude).mul_(1.25);
}

inline MeshRecipe tiny_recipe(const TinyOptions& options = {}) {
  const model::TransformerConfig config = tiny_config(options);
  MeshRecipe recipe;
  recipe.build = [config, options](at::ScalarType compute) {
    if (!options.lora_rank) return TrainedModel{model::build(config), std::nullopt};
    return adapted_model(
        config,
        {.r = *options.lora_rank, .use_dora = options.dora, .modules_to_save = options.modules_to_save},
        compute);
  };
  recipe.fill = fill_tiny;
  recipe.task =
      next_token_task([vocab = config.vocab_size](int64_t sample) { return tiny_sequence(sample, vocab); });
  recipe.trainer.optimizer.learning_rate = 1e-2;
  recipe.trainer.optimizer.weight_decay = 0.1;
  recipe.trainer.schedule.name = "constant";
  recipe.trainer.max_grad_norm = 0.5;
  recipe.trainer.max_steps = 100;
  return recipe;
}

}  // namespace phalanx::trainer::test
