#pragma once
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "model/causal_lm.h"
#include "model/embedding.h"
#include "model/kv_cache.h"
#include "model/linear.h"
#include "model/rms_norm.h"

/// The pre-norm decoder that the families around Llama share: a family supplies what stands in the
/// feed-forward place.
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

/// What all layers of one forward share. It outlives the forward where layers are run again in the backward.
struct Pass {
  std::vector<int32_t> cu_seqlens;
  at::Tensor cos, sin;  // [N, d/2]
  KvCache* cache;       // null when training
  AttentionFunction attention;
};

/// Grouped-query attention with rotary positions (Ainslie et al. 2023; Su et al. 2021).
class Attention : public Module {
 public:
  Attention(const TransformerConfig& config, int64_t layer);
  at::Tensor forward(const at::Tensor& x, const Pass& pass) const;

 private:
  int64_t head_dim_, layer_;
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, o_proj_;
};

class DecoderLayer : public Module {
 public:
  DecoderLayer(const TransformerConfig& config, int64_t layer, const FeedForwardKind& kind);
  Stream forward(const Stream& stream, const Pass& pass) const;

 private:
  std::shared_ptr<Attention> self_attn_;
  std::shared_ptr<FeedForward> mlp_;
  std::shared_ptr<RmsNorm> input_norm_, mlp_norm_;
};

/// Embedding, layers, last norm.
class Decoder : public Module {
 public:
  Decoder(const TransformerConfig& config, const FeedForwardKind& kind);
  /// CausalLm::run_layers with the seams of `model`.
  LayersOutput run(const CausalLm& model, const ModelInput& input, const LayersOutput& before,
                   LayerRange range, KvCache* cache) const;
  at::Tensor embedding_weight() const { return embed_tokens_->weight; }

 private:
  at::Tensor inverse_frequencies_;
  std::shared_ptr<Embedding> embed_tokens_;
  std::vector<std::shared_ptr<DecoderLayer>> layers_;
  std::shared_ptr<RmsNorm> norm_;
};

/// Decoder and output matrix under Hugging Face's names.
class DecoderLm : public CausalLm {
 public:
  DecoderLm(const TransformerConfig& config, const FeedForwardKind& kind);
  LayersOutput run_layers(const ModelInput& input, const LayersOutput& before, LayerRange range,
                          KvCache* cache = nullptr) override {
    return model_->run(*this, input, before, range, cache);
  }
  at::Tensor output_weight() override { return lm_head_ ? lm_head_->weight : model_->embedding_weight(); }
  const TransformerConfig& config() const override { return config_; }

 private:
  TransformerConfig config_;
  std::shared_ptr<Decoder> model_;
  std::shared_ptr<Linear> lm_head_;
};

}  // namespace phalanx::model
