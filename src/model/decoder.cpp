#include "model/decoder.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"
#include "ops/ops.h"

namespace phalanx::model {
namespace {

std::pair<at::Tensor, at::Tensor> normalise(const Norm& norm, const Stream& stream) {
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

std::vector<ShardRule> decoder_plan(const DecoderKind& kind, const std::vector<ShardRule>& feed_forward) {
  const auto in_layer = [](const std::string& name) { return "model.layers.*." + name; };
  const auto or_entry = [](const std::string& norm, const char* entry) {
    return norm.empty() ? entry : norm;
  };
  std::vector<ShardRule> plan = {
      {"model.embed_tokens", Shard::kVocab},
      {in_layer(or_entry(kind.norms.before_attention, kAttentionEntry)), Shard::kEnter},
      {in_layer("self_attn.{q,k,v}_proj"), Shard::kColumn, ShardUnit::kHead},
      {in_layer("self_attn.o_proj"), Shard::kRow, ShardUnit::kHead},
      {in_layer(or_entry(kind.norms.before_mlp, kMlpEntry)), Shard::kEnter},
      {"model.norm", Shard::kEnter},
      {"lm_head", Shard::kVocab}};
  if (kind.positions == Positions::kLearned) plan.push_back({"model.embed_positions", Shard::kVocab});
  for (const std::string& norm : {kind.norms.after_attention, kind.norms.after_mlp})
    if (!norm.empty()) plan.push_back({in_layer(norm), Shard::kStream});
  if (kind.query_key_norm == QueryKeyNorm::kPerHead)
    plan.push_back({in_layer("self_attn.{q,k}_norm"), Shard::kHeads});
  if (kind.query_key_norm == QueryKeyNorm::kAllHeads)
    plan.push_back({in_layer("self_attn.{q,k}_norm"), Shard::kAllHeads});
  plan.insert(plan.end(), feed_forward.begin(), feed_forward.end());
  return plan;
}

Attention::Attention(const TransformerConfig& c, int64_t layer, const DecoderKind& kind)
    : head_dim_(c.head_dim),
      layer_(layer),
      options_(1.0 / std::sqrt(c.query_pre_attn_scalar > 0 ? c.query_pre_attn_scalar
                                                           : static_cast<double>(c.head_dim)),
               c.is_sliding(layer) ? c.sliding_window : 0, c.attn_logit_softcapping),
      query_key_norm_(kind.query_key_norm) {
  if (kind.positions == Positions::kRotary) table_ = c.rope_local_base_freq && c.is_sliding(layer) ? 1 : 0;
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  q_proj_ = register_module("q_proj", std::make_shared<Linear>(c.hidden_size, q, c.attention_bias));
  k_proj_ = register_module("k_proj", std::make_shared<Linear>(c.hidden_size, kv, c.attention_bias));
  v_proj_ = register_module("v_proj", std::make_shared<Linear>(c.hidden_size, kv, c.attention_bias));
  o_proj_ = register_module(
      "o_proj", std::make_shared<Linear>(q, c.hidden_size, c.attention_bias && kind.has_output_bias));
  if (query_key_norm_ == QueryKeyNorm::kNone) return;
  const bool per_head = query_key_norm_ == QueryKeyNorm::kPerHead;
  q_norm_ = register_module("q_norm", make_norm(kind.norm, per_head ? c.head_dim : q, c.rms_norm_eps));
  k_norm_ = register_module("k_norm", make_norm(kind.norm, per_head ? c.head_dim : kv, c.rms_norm_eps));
}

// [N, H d] -> [N, H, d]. The number of heads follows from the weights: the model may be cut.
at::Tensor Attention::heads(const at::Tensor& rows, const std::shared_ptr<Norm>& norm) const {
  const std::vector<int64_t> sizes = {rows.size(0), -1, head_dim_};
  switch (query_key_norm_) {
    case QueryKeyNorm::kNone:
      return rows.view(sizes);
    case QueryKeyNorm::kPerHead:
      return norm->forward(rows.view({-1, head_dim_})).view(sizes);
    case QueryKeyNorm::kAllHeads:
      return norm->forward(rows).view(sizes);
  }
  TORCH_INTERNAL_ASSERT(false);
}

at::Tensor Attention::rotated(const at::Tensor& heads, const Pass& pass) const {
  return table_ ? ops::rope(heads, pass.angles[*table_].cos, pass.angles[*table_].sin) : heads;
}

at::Tensor Attention::forward(const at::Tensor& x, const Pass& pass) const {
  const at::Tensor q = rotated(heads(q_proj_->forward(x), q_norm_), pass);    // [N, H, d]
  const at::Tensor k = rotated(heads(k_proj_->forward(x), k_norm_), pass);    // [N, K, d]
  const at::Tensor v = v_proj_->forward(x).view({x.size(0), -1, head_dim_});  // [N, K, d]
  const at::Tensor mixed = pass.cache ? pass.cache->attend(layer_, q, k, v, pass.cu_seqlens, options_)
                                      : pass.attention(q, k, v, pass.cu_seqlens, options_);
  return o_proj_->forward(mixed.flatten(1));  // [N, H, d] -> [N, H d] -> [N, h]
}

DecoderLayer::DecoderLayer(const TransformerConfig& c, int64_t layer, const DecoderKind& kind) {
  const auto add_norm = [&](const std::string& name) {
    return register_module(name, make_norm(kind.norm, c.hidden_size, c.rms_norm_eps));
  };
  const auto norm_before = [&](const std::string& name, const char* entry) -> std::shared_ptr<Norm> {
    if (name.empty()) return register_module(entry, std::make_shared<NoNorm>());
    return add_norm(name);
  };
  self_attn_ = register_module("self_attn", std::make_shared<Attention>(c, layer, kind));
  mlp_ = register_module(kind.feed_forward.name, kind.feed_forward.make(c, layer));
  before_attention_ = norm_before(kind.norms.before_attention, kAttentionEntry);
  if (!kind.norms.after_attention.empty()) after_attention_ = add_norm(kind.norms.after_attention);
  before_mlp_ = norm_before(kind.norms.before_mlp, kMlpEntry);
  if (!kind.norms.after_mlp.empty()) after_mlp_ = add_norm(kind.norms.after_mlp);
}

Stream DecoderLayer::forward(const Stream& stream, const Pass& pass) const {
  const auto [attention_input, residual] = normalise(*before_attention_, stream);
  at::Tensor attention = self_attn_->forward(attention_input, pass);
  if (after_attention_) attention = after_attention_->forward(attention);
  const auto [mlp_input, sum] = before_mlp_->forward(attention, residual);
  FeedForward::Output out = mlp_->forward(mlp_input);
  if (after_mlp_) out.update = after_mlp_->forward(out.update);
  return {.residual = sum, .update = out.update, .router_sums = sum_of(stream.router_sums, out.router_sums)};
}

Decoder::Decoder(const TransformerConfig& c, const DecoderKind& kind)
    : max_position_embeddings_(c.max_position_embeddings),
      // In fp32, as the reference holds it.
      embedding_scale_(
          kind.scales_embedding ? static_cast<float>(std::sqrt(static_cast<double>(c.hidden_size))) : 0) {
  if (kind.positions == Positions::kRotary) {
    tables_.emplace_back(c.head_dim, c.max_position_embeddings, c.rope_theta, c.rope_scaling);
    if (c.rope_local_base_freq) {
      tables_.emplace_back(c.head_dim, c.max_position_embeddings, *c.rope_local_base_freq, std::nullopt);
    }
  }
  const std::optional<int64_t> padding = kind.trains_padding ? std::nullopt : c.pad_token_id;
  embed_tokens_ =
      register_module("embed_tokens", std::make_shared<Embedding>(c.vocab_size, c.hidden_size, padding));
  if (kind.positions == Positions::kLearned) {
    embed_positions_ =
        register_module("embed_positions",
                        std::make_shared<Embedding>(c.max_position_embeddings, c.hidden_size, std::nullopt));
  }
  const auto list = std::make_shared<ModuleList>();
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<DecoderLayer>(c, i, kind));
    list->push_back(layers_.back());
  }
  register_module("layers", list);
  norm_ = register_module("norm", make_norm(kind.norm, c.hidden_size, c.rms_norm_eps));
}

at::Tensor Decoder::embed(const ModelInput& input) const {
  at::Tensor hidden = embed_tokens_->forward(input.input_ids);
  if (embedding_scale_ > 0) {
    const at::Tensor scale = at::scalar_tensor(embedding_scale_, hidden.options().requires_grad(false));
    hidden = hidden * scale;  // rounded to the dtype first, as the reference does
  }
  if (!embed_positions_) return hidden;
  const int64_t last = input.position_ids.numel() == 0 ? 0 : input.position_ids.max().item<int64_t>();
  if (last >= max_position_embeddings_) {
    core::fail(
        core::ExitCode::kBadInput,
        "a sample has {} tokens, but the model has learned positions for {} (max_position_embeddings); "
        "shorten the samples",
        last + 1, max_position_embeddings_);
  }
  return hidden + embed_positions_->forward(input.position_ids);
}

LayersOutput Decoder::run(const CausalLm& model, const ModelInput& input, const LayersOutput& before,
                          LayerRange range, KvCache* cache) const {
  model.observe(input);
  Stream stream = range.begin == 0 ? Stream{.residual = embed(input), .update = {}} : from_sum(before);
  std::vector<Pass::Angles> angles;
  for (const RotaryTable& table : tables_) {
    const auto [cos, sin] = table.rows(input.position_ids, input.cu_seqlens, stream.residual.scalar_type());
    angles.push_back({cos, sin});
  }
  const auto pass =
      std::make_shared<const Pass>(Pass{input.cu_seqlens, std::move(angles), cache, model.attention()});
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

DecoderLm::DecoderLm(const TransformerConfig& c, const DecoderKind& kind) : config_(c) {
  model_ = register_module("model", std::make_shared<Decoder>(c, kind));
  if (c.final_logit_softcapping > 0) set_head(std::make_shared<OutputHead>(c.final_logit_softcapping));
  if (c.num_labels > 0) {
    output_ =
        register_module("score", std::make_shared<Linear>(c.hidden_size, c.num_labels, c.labels_tokens));
  } else if (!c.tie_word_embeddings) {
    output_ = register_module("lm_head", std::make_shared<Linear>(c.hidden_size, c.vocab_size, false));
  }
}

}  // namespace phalanx::model
