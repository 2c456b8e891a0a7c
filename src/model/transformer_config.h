#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phalanx::model {

/// Rotary scaling, config.json's `rope_scaling` (rotary.h has the formulas).
struct RopeScaling {
  std::string rope_type = "llama3";  ///< linear, dynamic, yarn or llama3
  double factor = 1;
  double low_freq_factor = 0, high_freq_factor = 0;  ///< llama3
  int64_t original_max_position_embeddings = 0;      ///< llama3, yarn; 0: not given
  std::optional<double> attention_factor = {}, beta_fast = {}, beta_slow = {}, mscale = {},
                        mscale_all_dim = {};  ///< yarn
  bool truncate = true;                       ///< yarn
  bool operator==(const RopeScaling&) const = default;
};

/// Architecture and sizes under config.json's names. @throws core::Error from validate() naming key, value
/// and range.
struct TransformerConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;  ///< of a LayerNorm, too
  std::string hidden_act = "silu";
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling = {};
  std::optional<double> rope_local_base_freq = {};  ///< rope_theta of sliding layers, never scaled
  bool tie_word_embeddings = false;
  bool attention_bias = false, mlp_bias = false;
  double initializer_range = 0.02;
  // Attention. 0: none, or for query_pre_attn_scalar head_dim.
  int64_t sliding_window = 0;             ///< keys that a query of a sliding layer sees, with its own
  std::vector<bool> sliding_layers = {};  ///< one each; empty: all layers slide, where there is a window
  double query_pre_attn_scalar = 0;       ///< scores are divided by its square root
  double attn_logit_softcapping = 0, final_logit_softcapping = 0;
  // Mixture of experts; num_local_experts is 0 in a model without.
  int64_t num_local_experts = 0, num_experts_per_tok = 0;
  int64_t moe_intermediate_size = 0;          ///< of an expert; 0: intermediate_size
  int64_t decoder_sparse_step = 1;            ///< every how many layers there are experts
  std::vector<int64_t> mlp_only_layers = {};  ///< layers that have none all the same
  bool norm_topk_prob = true;                 ///< the weights of a token's experts have sum 1
  bool output_router_logits = false;  ///< transformers' switch for the load-balancing loss in training
  double router_aux_loss_coef = 0;    ///< of the load-balancing loss
  double router_z_loss_coef = 0;      ///< of the router z-loss, which has no switch
  /// More than 0: a model that scores sequences (*ForSequenceClassification): `score.weight` [num_labels,
  /// hidden_size] stands in place of an output matrix.
  int64_t num_labels = 0;
  /// With num_labels: one that scores tokens (*ForTokenClassification), which has a `score.bias`, too.
  bool labels_tokens = false;
  std::optional<int64_t> bos_token_id = {}, pad_token_id = {};
  std::vector<int64_t> eos_token_ids = {};  ///< config.json's eos_token_id, which may be one id or a list

  void validate(const std::string& where) const;
  int64_t num_parameters() const;
  /// The coefficient with which the load balance joins the training loss: 0 where it is switched off.
  double load_balancing_coef() const { return output_router_logits ? router_aux_loss_coef : 0; }
  bool is_sliding(int64_t layer) const;
  /// Whether layer i has experts.
  bool is_sparse(int64_t layer) const;
  int64_t expert_size() const {
    return moe_intermediate_size > 0 ? moe_intermediate_size : intermediate_size;
  }
  bool operator==(const TransformerConfig&) const = default;
};

}  // namespace phalanx::model
