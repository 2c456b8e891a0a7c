#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "model/transformer_config.h"

namespace phalanx::model {

/// Section `model`: where the weights come from (`path`), or the sizes of a new model under config.json's
/// names (`family`).
struct ModelOptions {
  std::optional<std::string> path;
  std::optional<std::string> family;

  std::optional<int64_t> vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
  std::optional<int64_t> num_key_value_heads, head_dim;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  std::optional<int64_t> num_local_experts, num_experts_per_tok;
  std::optional<bool> output_router_logits;
  std::optional<double> router_aux_loss_coef, router_z_loss_coef;

  std::string dtype = "auto";
  std::optional<std::string> tokenizer;
  std::optional<std::string> chat_template;
};

/// The architecture of a new model. @param tokenizer_vocab_size  used where vocab_size is not set; 0: there
/// is none.
/// @throws core::Error (kBadConfig) naming the key.
TransformerConfig config_of_new_model(const ModelOptions& options, int64_t tokenizer_vocab_size);

}  // namespace phalanx::model
