#include "model/decoder.h"

#include <ATen/ATen.h>

#include <cmath>

#include "model/rotary.h"
#include "ops/ops.h"

namespace phalanx::model {
namespace {

std::pair<at::Tensor, at::Tensor> normalise(const RmsNorm& norm, const Stream& stream) {
  if (!stream.update.defined()) return {norm.forward(stream.residual), stream.residual};
  return norm.forward(stream.update, stream.residual);
}

// What another part of the model has left as one sum. Two addends, so that the first norm adds the gradients
// of its two uses in one pass, as between any two layers.
Stream from_sum(const LayersOutput& before) {
  const at::Tensor& sum = before.hidden;
  return {.residual = sum,
          .update = at::zeros(sum.sizes(), sum.options().requires_grad(false)),
          .router_sums = before.router_sums};
}

// Either may be undefined.
at::Tensor sum_of(const at::Tensor& a, const at::Tensor& b) {
  return a.defined() && b.defined() ? a + b : a.defined() ? a : b;
}

}  // namespace

CausalLm::CausalLm()
    : head_(std::make_shared<OutputHead>()),
      layer_runner_([](int64_t, const Stream& stream, const LayerBody& body) { return body(stream); }),
      attention_(ops::varlen_attention) {}

at::Tensor CausalLm::hidden_cached(const ModelInput& input, KvCache& cache) {
  at::Tensor hidden = run_layers(input, {}, all_layers(), &cache).hidden;
  cache.advance(input.cu_seqlens);
  return hidden;
}

at::Tensor CausalLm::auxiliary_loss(const at::Tensor&) const {
  return {};
}

Attention::Attention(const TransformerConfig& c, int64_t layer) : head_dim_(c.head_dim), layer_(layer) {
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  q_proj_ = register_module("q_proj", std::make_shared<Linear>(c.hidden_size, q, c.attention_bias));
  k_proj_ = register_module("k_proj", std::make_shared<Linear>(c.hidden_size, kv, c.attention_bias));
  v_proj_ = register_module("v_proj", std::make_shared<Linear>(c.hidden_size, kv, c.attention_bias));
  o_proj_ = register_module("o_proj", std::make_shared<Linear>(q, c.hidden_size, c.attention_bias));
}

at::Tensor Attention::forward(const at::Tensor& x, const Pass& pass) const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));
  // The number of heads follows from the weights: the model may be cut.
  const auto heads = [&](const at::Tensor& rows) { return rows.view({rows.size(0), -1, head_dim_}); };
  const at::Tensor q = ops::rope(heads(q_proj_->forward(x)), pass.cos, pass.sin);  // [N, H, d]
  const at::Tensor k = ops::rope(heads(k_proj_->forward(x)), pass.cos, pass.sin);  // [N, K, d]
  const at::Tensor v = heads(v_proj_->forward(x));                                 // [N, K, d]
  const at::Tensor mixed = pass.cache ? pass.cache->attend(layer_, q, k, v, pass.cu_seqlens, scale)
                                      : pass.attention(q, k, v, pass.cu_seqlens, scale);
  return o_proj_->forward(mixed.flatten(1));  // [N, H, d] -> [N, H d] -> [N, h]
}

DecoderLayer::DecoderLayer(const TransformerConfig& c, int64_t layer, const FeedForwardKind& kind) {
  self_attn_ = register_module("self_attn", std::make_shared<Attention>(c, layer));
  mlp_ = register_module(kind.name, kind.make(c, layer));
  input_norm_ = register_module("input_layernorm", std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps));
  mlp_norm_ =
      register_module("post_attention_layernorm", std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps));
}

Stream DecoderLayer::forward(const Stream& stream, const Pass& pass) const {
  const auto [attention_input, residual] = normalise(*input_norm_, stream);
  const auto [mlp_input, sum] = mlp_norm_->forward(self_attn_->forward(attention_input, pass), residual);
  const FeedForward::Output out = mlp_->forward(mlp_input);
  return {.residual = sum, .update = out.update, .router_sums = sum_of(stream.router_sums, out.router_sums)};
}

Decoder::Decoder(const TransformerConfig& c, const FeedForwardKind& kind)
    : inverse_frequencies_(inverse_frequencies(c)) {
  embed_tokens_ = register_module("embed_tokens",
                                  std::make_shared<Embedding>(c.vocab_size, c.hidden_size, c.pad_token_id));
  const auto list = std::make_shared<ModuleList>();
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<DecoderLayer>(c, i, kind));
    list->push_back(layers_.back());
  }
  register_module("layers", list);
  norm_ = register_module("norm", std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps));
}

LayersOutput Decoder::run(const CausalLm& model, const ModelInput& input, const LayersOutput& before,
                          LayerRange range, KvCache* cache) const {
  model.observe(input);
  Stream stream = range.begin == 0 ? Stream{.residual = embed_tokens_->forward(input.input_ids), .update = {}}
                                   : from_sum(before);
  const auto [cos, sin] =
      ops::rope_rows(input.position_ids, inverse_frequencies_.to(input.position_ids.device()),
                     stream.residual.scalar_type());
  const auto pass = std::make_shared<const Pass>(Pass{input.cu_seqlens, cos, sin, cache, model.attention()});
  for (int64_t i = range.begin; i < range.end; ++i) {
    stream =
        model.layer_runner()(i, stream, [layer = layers_[static_cast<size_t>(i)], pass](const Stream& in) {
          return layer->forward(in, *pass);
        });
  }
  const bool is_last = range.end == static_cast<int64_t>(layers_.size());
  return {.hidden = is_last ? normalise(*norm_, stream).first : add(stream.residual, stream.update),
          .router_sums = stream.router_sums};
}

DecoderLm::DecoderLm(const TransformerConfig& c, const FeedForwardKind& kind) : config_(c) {
  model_ = register_module("model", std::make_shared<Decoder>(c, kind));
  if (!c.tie_word_embeddings) {
    lm_head_ = register_module("lm_head", std::make_shared<Linear>(c.hidden_size, c.vocab_size, false));
  }
}

}  // namespace phalanx::model
