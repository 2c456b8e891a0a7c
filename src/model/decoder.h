#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/causal_lm.h"
#include "model/embedding.h"
#include "model/kv_cache.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/rotary.h"

/// The decoder that the families share: attention and a feed-forward part in each layer, with norms around
/// them. A family says which, and supplies what stands in the feed-forward place.
namespace phalanx::model {

/// y = f(norm(stream)), [N, h] -> [N, h]: what one layer adds to the residual stream after its attention.
class FeedForward : public Module {
 public:
  struct Output {
    at::Tensor update;            // [N, h]
    at::Tensor router_sums = {};  // ops::router_sums() of this layer; undefined where nobody asks for them
  };
  virtual Output forward(const at::Tensor& x) const = 0;
};

/// Its name in the layer ("mlp") and how layer i gets its own.
struct FeedForwardKind {
  std::string name;
  std::function<std::shared_ptr<FeedForward>(const TransformerConfig& config, int64_t layer)> make;
};

/// The names of a layer's norms; empty: none there.
///
///     x += after_attention(attention(before_attention(x)));  x += after_mlp(mlp(before_mlp(x)))
struct LayerNorms {
  std::string before_attention, after_attention, before_mlp, after_mlp;
};
inline const LayerNorms kPreNorms = {"input_layernorm", "", "post_attention_layernorm", ""};
inline const LayerNorms kPostNorms = {"", "post_attention_layernorm", "", "post_feedforward_layernorm"};
inline const LayerNorms kSandwichNorms = {"input_layernorm", "post_attention_layernorm",
                                          "pre_feedforward_layernorm", "post_feedforward_layernorm"};
/// What stands where a layer has no norm before a part.
inline constexpr const char *kAttentionEntry = "attention_entry", *kMlpEntry = "mlp_entry";

/// Norms of queries and keys, behind their products ("q_norm", "k_norm").
enum class QueryKeyNorm { kNone, kPerHead, kAllHeads };
/// kRotary: by angles of queries and keys. kLearned: rows of a table ("embed_positions") that join the
/// embedding.
enum class Positions { kRotary, kLearned };

struct DecoderKind {
  FeedForwardKind feed_forward;
  LayerNorms norms = kPreNorms;
  NormKind norm = NormKind::kRms;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  bool has_output_bias = true;  ///< attention_bias holds for o_proj, too
  Positions positions = Positions::kRotary;
  bool scales_embedding = false;  ///< by sqrt(hidden_size)
  bool trains_padding = false;    ///< looking pad_token_id up trains its row
};

/// down_proj(activation(gate_proj(x)) * up_proj(x)), `hidden_act` of config.json; the name is "mlp".
const FeedForwardKind& gated_mlp();

/// How a decoder of this kind is cut, with the rules of its feed-forward part.
std::vector<ShardRule> decoder_plan(const DecoderKind& kind, const std::vector<ShardRule>& feed_forward);
const std::vector<ShardRule>& gated_mlp_plan();

/// What all layers of one forward share. It outlives the forward where layers are run again in the backward.
struct Pass {
  struct Angles {
    at::Tensor cos, sin;  // [N, d/2]
  };
  std::vector<int32_t> cu_seqlens;
  std::vector<Angles> angles;  // of each rotary table
  KvCache* cache;              // null when training
  AttentionFunction attention;
};

/// Grouped-query attention (Ainslie et al. 2023) with rotary positions (Su et al. 2021), where the family has
/// those.
class Attention : public Module {
 public:
  Attention(const TransformerConfig& config, int64_t layer, const DecoderKind& kind);
  at::Tensor forward(const at::Tensor& x, const Pass& pass) const;

 private:
  at::Tensor heads(const at::Tensor& rows, const std::shared_ptr<Norm>& norm) const;
  at::Tensor rotated(const at::Tensor& heads, const Pass& pass) const;

  int64_t head_dim_, layer_;
  ops::AttentionOptions options_;
  QueryKeyNorm query_key_norm_;
  std::optional<size_t> table_;  // of the angles; none: no rotary positions
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, o_proj_;
  std::shared_ptr<Norm> q_norm_, k_norm_;
};

class DecoderLayer : public Module {
 public:
  DecoderLayer(const TransformerConfig& config, int64_t layer, const DecoderKind& kind);
  Stream forward(const Stream& stream, const Pass& pass) const;

 private:
  std::shared_ptr<Attention> self_attn_;
  std::shared_ptr<FeedForward> mlp_;
  std::shared_ptr<Norm> before_attention_, after_attention_, before_mlp_, after_mlp_;
};

/// Embedding, layers, last norm.
class Decoder : public Module {
 public:
  Decoder(const TransformerConfig& config, const DecoderKind& kind);
  /// CausalLm::run_layers with the seams of `model`.
  LayersOutput run(const CausalLm& model, const ModelInput& input, const LayersOutput& before,
                   LayerRange range, KvCache* cache) const;
  at::Tensor embedding_weight() const { return embed_tokens_->weight; }

 private:
  at::Tensor embed(const ModelInput& input) const;

  int64_t max_position_embeddings_;
  double embedding_scale_;           // 0: none
  std::vector<RotaryTable> tables_;  // [0] of full layers, [1], where there is one, of sliding layers
  std::shared_ptr<Embedding> embed_tokens_, embed_positions_;
  std::vector<std::shared_ptr<DecoderLayer>> layers_;
  std::shared_ptr<Norm> norm_;
};

/// Decoder and output matrix under Hugging Face's names.
class DecoderLm : public CausalLm {
 public:
  DecoderLm(const TransformerConfig& config, const DecoderKind& kind);
  LayersOutput run_layers(const ModelInput& input, const LayersOutput& before, LayerRange range,
                          KvCache* cache = nullptr) override {
    return model_->run(*this, input, before, range, cache);
  }
  at::Tensor output_weight() override { return output_ ? output_->weight : model_->embedding_weight(); }
  at::Tensor output_bias() override { return output_ ? output_->bias : at::Tensor(); }
  const TransformerConfig& config() const override { return config_; }

 private:
  TransformerConfig config_;
  std::shared_ptr<Decoder> model_;
  std::shared_ptr<Linear> output_;  // "lm_head" or "score"; none where tied
};

}  // namespace phalanx::model
