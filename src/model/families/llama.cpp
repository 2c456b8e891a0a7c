// Everything that the framework knows about the Llama family: plain code for one device and a table of how it
// is cut.
#include <cmath>

#include "model/causal_lm.h"
#include "model/embedding.h"
#include "model/kv_cache.h"
#include "model/linear.h"
#include "model/rms_norm.h"
#include "model/rotary.h"
#include "ops/ops.h"

namespace phalanx::model {
namespace {

/// What all layers of one forward share.
struct Pass {
  const std::vector<int32_t>& cu_seqlens;
  at::Tensor cos, sin;  // [N, d/2]
  KvCache* cache;       // null when training
};

class Attention : public Module {
 public:
  Attention(const TransformerConfig& c, int64_t layer) : head_dim_(c.head_dim), layer_(layer) {
    const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
    q_proj_ = register_module("q_proj", std::make_shared<Linear>(c.hidden_size, q, c.attention_bias));
    k_proj_ = register_module("k_proj", std::make_shared<Linear>(c.hidden_size, kv, c.attention_bias));
    v_proj_ = register_module("v_proj", std::make_shared<Linear>(c.hidden_size, kv, c.attention_bias));
    o_proj_ = register_module("o_proj", std::make_shared<Linear>(q, c.hidden_size, c.attention_bias));
  }

  at::Tensor forward(const at::Tensor& x, const Pass& pass) const {
    const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));
    // The number of heads follows from the weights: a rank may hold only some of them.
    const at::Tensor q = ops::rope(heads(q_proj_->forward(x)), pass.cos, pass.sin);  // [N, H, d]
    const at::Tensor k = ops::rope(heads(k_proj_->forward(x)), pass.cos, pass.sin);  // [N, K, d]
    const at::Tensor v = heads(v_proj_->forward(x));                                 // [N, K, d]
    const at::Tensor mixed = pass.cache ? pass.cache->attend(layer_, q, k, v, pass.cu_seqlens, scale)
                                        : ops::varlen_attention(q, k, v, pass.cu_seqlens, scale);
    return o_proj_->forward(mixed.flatten(1));  // [N, H, d] -> [N, H d] -> [N, h]
  }

 private:
  at::Tensor heads(const at::Tensor& x) const { return x.view({x.size(0), -1, head_dim_}); }

  int64_t head_dim_, layer_;
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, o_proj_;
};

class Mlp : public Module {
 public:
  explicit Mlp(const TransformerConfig& c) {
    gate_proj_ = register_module("gate_proj",
                                 std::make_shared<Linear>(c.hidden_size, c.intermediate_size, c.mlp_bias));
    up_proj_ =
        register_module("up_proj", std::make_shared<Linear>(c.hidden_size, c.intermediate_size, c.mlp_bias));
    down_proj_ = register_module("down_proj",
                                 std::make_shared<Linear>(c.intermediate_size, c.hidden_size, c.mlp_bias));
  }

  at::Tensor forward(const at::Tensor& x) const {
    return down_proj_->forward(ops::swiglu(gate_proj_->forward(x), up_proj_->forward(x)));
  }

 private:
  std::shared_ptr<Linear> gate_proj_, up_proj_, down_proj_;
};

/// The residual stream between two layers as two addends: the sum is formed inside the next norm, in one
/// pass.
struct Stream {
  at::Tensor residual;  // [N, h]
  at::Tensor update;    // [N, h], undefined before the first layer
};

std::pair<at::Tensor, at::Tensor> normalise(const RmsNorm& norm, const Stream& stream) {
  if (!stream.update.defined()) return {norm.forward(stream.residual), stream.residual};
  return norm.forward(stream.update, stream.residual);
}

class DecoderLayer : public Module {
 public:
  DecoderLayer(const TransformerConfig& c, int64_t layer) {
    self_attn_ = register_module("self_attn", std::make_shared<Attention>(c, layer));
    mlp_ = register_module("mlp", std::make_shared<Mlp>(c));
    input_norm_ =
        register_module("input_layernorm", std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps));
    mlp_norm_ =
        register_module("post_attention_layernorm", std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps));
  }

  Stream forward(const Stream& stream, const Pass& pass) const {
    const auto [attention_input, residual] = normalise(*input_norm_, stream);
    const auto [mlp_input, sum] = mlp_norm_->forward(self_attn_->forward(attention_input, pass), residual);
    return {.residual = sum, .update = mlp_->forward(mlp_input)};
  }

 private:
  std::shared_ptr<Attention> self_attn_;
  std::shared_ptr<Mlp> mlp_;
  std::shared_ptr<RmsNorm> input_norm_, mlp_norm_;
};

class Decoder : public Module {
 public:
  explicit Decoder(const TransformerConfig& c) : inverse_frequencies_(inverse_frequencies(c)) {
    embed_tokens_ = register_module("embed_tokens",
                                    std::make_shared<Embedding>(c.vocab_size, c.hidden_size, c.pad_token_id));
    const auto list = std::make_shared<ModuleList>();
    for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
      layers_.push_back(std::make_shared<DecoderLayer>(c, i));
      list->push_back(layers_.back());
    }
    register_module("layers", list);
    norm_ = register_module("norm", std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps));
  }

  at::Tensor forward(const ModelInput& input, KvCache* cache) const {
    Stream stream{.residual = embed_tokens_->forward(input.input_ids), .update = {}};
    const auto [cos, sin] =
        ops::rope_rows(input.position_ids, inverse_frequencies_.to(input.position_ids.device()),
                       stream.residual.scalar_type());
    const Pass pass{input.cu_seqlens, cos, sin, cache};
    for (const auto& layer : layers_) stream = layer->forward(stream, pass);
    if (cache) cache->advance(input.cu_seqlens);
    return normalise(*norm_, stream).first;
  }

  at::Tensor embedding_weight() const { return embed_tokens_->weight; }

 private:
  at::Tensor inverse_frequencies_;
  std::shared_ptr<Embedding> embed_tokens_;
  std::vector<std::shared_ptr<DecoderLayer>> layers_;
  std::shared_ptr<RmsNorm> norm_;
};

class LlamaForCausalLM : public CausalLm {
 public:
  explicit LlamaForCausalLM(const TransformerConfig& c) : config_(c) {
    model_ = register_module("model", std::make_shared<Decoder>(c));
    if (!c.tie_word_embeddings) {
      lm_head_ = register_module("lm_head", std::make_shared<Linear>(c.hidden_size, c.vocab_size, false));
    }
  }

  at::Tensor hidden(const ModelInput& input) override { return model_->forward(input, nullptr); }
  at::Tensor hidden_cached(const ModelInput& input, KvCache& cache) override {
    return model_->forward(input, &cache);
  }
  at::Tensor output_weight() override { return lm_head_ ? lm_head_->weight : model_->embedding_weight(); }
  const TransformerConfig& config() const override { return config_; }

 private:
  TransformerConfig config_;
  std::shared_ptr<Decoder> model_;
  std::shared_ptr<Linear> lm_head_;
};

[[maybe_unused]] const bool registered = register_family({
    .name = "llama",
    .build = [](const TransformerConfig& c) { return std::make_shared<LlamaForCausalLM>(c); },
    .sharding_plan = {{"model.embed_tokens", Shard::kVocab},
                      {"model.layers.*.self_attn.{q,k,v}_proj", Shard::kColumn},
                      {"model.layers.*.self_attn.o_proj", Shard::kRow},
                      {"model.layers.*.mlp.{gate,up}_proj", Shard::kColumn},
                      {"model.layers.*.mlp.down_proj", Shard::kRow},
                      {"lm_head", Shard::kVocab}},
});

}  // namespace
}  // namespace phalanx::model
