#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phalanx::model {

/// Rotary scaling of Llama 3.x (`rope_type: llama3`); the other kinds join with their families.
struct RopeScaling {
  double factor, low_freq_factor, high_freq_factor;
  int64_t original_max_position_embeddings;
  bool operator==(const RopeScaling&) const = default;
};

/// Architecture and sizes under config.json's names. @throws core::Error from validate() naming key, value
/// and range.
struct TransformerConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling = {};
  bool tie_word_embeddings = false;
  bool attention_bias = false, mlp_bias = false;
  double initializer_range = 0.02;
  // Mixture of experts; num_local_experts is 0 in a model without.
  int64_t num_local_experts = 0, num_experts_per_tok = 0;
  bool output_router_logits = false;  ///< transformers' switch for the load-balancing loss in training
  double router_aux_loss_coef = 0;    ///< of the load-balancing loss
  double router_z_loss_coef = 0;      ///< of the router z-loss, which has no switch
  std::optional<int64_t> bos_token_id = {}, pad_token_id = {};
  std::vector<int64_t> eos_token_ids = {};  ///< config.json's eos_token_id, which may be one id or a list

  void validate(const std::string& where) const;
  int64_t num_parameters() const;
  /// The coefficient with which the load balance joins the training loss: 0 where it is switched off.
  double load_balancing_coef() const { return output_router_logits ? router_aux_loss_coef : 0; }
  bool operator==(const TransformerConfig&) const = default;
};

}  // namespace phalanx::model
