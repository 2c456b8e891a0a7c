#include "model/gguf_architecture.h"

#include <fmt/format.h>

#include <map>

#include "core/error.h"
#include "model/causal_lm.h"
#include "model/parameter.h"

namespace phalanx::model {
namespace {

constexpr const char* kLayers = "model.layers.*.";

GgufModule in_layer(const std::string& gguf, const std::string& module,
                    GgufRows rows = GgufRows::kAsTheyAre) {
  return {"blk.*." + gguf, {kLayers + module}, rows};
}

GgufModules attention(GgufRows query, GgufRows key) {
  return {in_layer("attn_q", "self_attn.q_proj", query), in_layer("attn_k", "self_attn.k_proj", key),
          in_layer("attn_v", "self_attn.v_proj"), in_layer("attn_output", "self_attn.o_proj")};
}

std::string with_number(std::string pattern, char mark, int64_t number) {
  const size_t at = pattern.find(mark);
  return at == std::string::npos ? pattern : pattern.replace(at, 1, std::to_string(number));
}

bool has(const std::string& pattern, char mark) {
  return pattern.find(mark) != std::string::npos;
}

/// The parameters that a line of the table names in one layer, as far as the model has them.
std::vector<std::string> parts_of(const GgufModule& line, int64_t layer, const char* kind,
                                  int64_t num_experts) {
  std::vector<std::string> names;
  for (const std::string& module : line.modules) {
    const std::string name = with_number(module, '*', layer) + kind;
    const int64_t count = has(module, '#') ? num_experts : 1;
    for (int64_t e = 0; e < count; ++e) names.push_back(with_number(name, '#', e));
  }
  return names;
}

using Shapes = std::map<std::string, std::vector<int64_t>>;

void add_tensor(const GgufArchitecture& architecture, const GgufModule& line, const TransformerConfig& c,
                int64_t layer, const char* kind, const Shapes& shapes,
                std::vector<formats::GgufTensor>& tensors) {
  formats::GgufTensor tensor{.name = with_number(line.gguf, '*', layer) + kind, .parts = {}};
  for (const std::string& name : parts_of(line, layer, kind, c.num_local_experts))
    if (const auto found = shapes.find(name); found != shapes.end())
      tensor.parts.push_back({name, found->second});
  if (tensor.parts.empty()) return;  // a bias that the model does not have
  tensor.is_stack = has(line.modules.front(), '#');
  if (line.rows == GgufRows::kQueryHeads) tensor.num_heads = c.num_attention_heads;
  if (line.rows == GgufRows::kKeyHeads) tensor.num_heads = c.num_key_value_heads;
  tensor.is_one_more = architecture.norms_are_one_more && line.gguf.ends_with("norm");
  tensors.push_back(std::move(tensor));
}

const GgufArchitecture& architecture_of(const TransformerConfig& config) {
  const Family& family = find_family(config.model_type);
  if (!family.gguf) refuse_gguf(config, "no engine's files of this family are known");
  return *family.gguf;
}

}  // namespace

GgufModules gguf_ends() {
  return {{"token_embd", {"model.embed_tokens"}}, {"output_norm", {"model.norm"}}, {"output", {"lm_head"}}};
}

GgufModules gguf_pre_norms() {
  return {in_layer("attn_norm", "input_layernorm"), in_layer("ffn_norm", "post_attention_layernorm")};
}

GgufModules gguf_post_norms() {
  return {in_layer("post_attention_norm", "post_attention_layernorm"),
          in_layer("post_ffw_norm", "post_feedforward_layernorm")};
}

GgufModules gguf_sandwich_norms() {
  return {in_layer("attn_norm", "input_layernorm"),
          in_layer("post_attention_norm", "post_attention_layernorm"),
          in_layer("ffn_norm", "pre_feedforward_layernorm"),
          in_layer("post_ffw_norm", "post_feedforward_layernorm")};
}

GgufModules gguf_attention() {
  return attention(GgufRows::kAsTheyAre, GgufRows::kAsTheyAre);
}

GgufModules gguf_paired_attention() {
  return attention(GgufRows::kQueryHeads, GgufRows::kKeyHeads);
}

GgufModules gguf_query_key_norms() {
  return {in_layer("attn_q_norm", "self_attn.q_norm"), in_layer("attn_k_norm", "self_attn.k_norm")};
}

GgufModules gguf_gated_mlp() {
  return {in_layer("ffn_gate", "mlp.gate_proj"), in_layer("ffn_up", "mlp.up_proj"),
          in_layer("ffn_down", "mlp.down_proj")};
}

GgufModules gguf_experts(const std::string& block, const std::string& gate, const std::string& up,
                         const std::string& down) {
  const std::string expert = block + ".experts.#.";
  return {{"blk.*.ffn_gate_inp", {block + ".gate"}},
          {"blk.*.ffn_gate_exps", {expert + gate}},
          {"blk.*.ffn_up_exps", {expert + up}},
          {"blk.*.ffn_down_exps", {expert + down}}};
}

GgufModules join(const std::vector<GgufModules>& tables) {
  GgufModules all;
  for (const GgufModules& table : tables) all.insert(all.end(), table.begin(), table.end());
  return all;
}

void refuse_gguf(const TransformerConfig& config, const std::string& reason) {
  core::fail(core::ExitCode::kBadConfig,
             "a model of family {} cannot be written as GGUF: {}; export it to hf instead", config.model_type,
             reason);
}

void read_gguf_experts(const formats::GgufKeys& keys, TransformerConfig& c) {
  c.num_local_experts = keys.integer("expert_count", 1, formats::kMaxGgufExperts);
  c.num_experts_per_tok = keys.integer("expert_used_count", 1, c.num_local_experts);
  if (keys.has("expert_feed_forward_length"))
    c.moe_intermediate_size = keys.integer("expert_feed_forward_length", 1, formats::kMaxGgufSize);
}

void write_gguf_experts(const TransformerConfig& c, formats::GgufKeyWriter& keys) {
  keys.integer("expert_count", c.num_local_experts).integer("expert_used_count", c.num_experts_per_tok);
  if (c.moe_intermediate_size > 0) keys.integer("expert_feed_forward_length", c.moe_intermediate_size);
}

std::vector<formats::GgufTensor> gguf_layout(const TransformerConfig& config,
                                             const NamedTensors& parameters) {
  const GgufArchitecture& architecture = architecture_of(config);
  Shapes shapes;
  for (const auto& [name, parameter] : parameters) shapes.emplace(name, parameter.sizes().vec());
  std::vector<formats::GgufTensor> tensors;
  for (const GgufModule& line : architecture.modules) {
    const int64_t layers = has(line.gguf, '*') ? config.num_hidden_layers : 1;
    for (int64_t layer = 0; layer < layers; ++layer)
      for (const char* kind : {".weight", ".bias"})
        add_tensor(architecture, line, config, layer, kind, shapes, tensors);
  }
  std::map<std::string, size_t> tensor_of;
  for (size_t i = 0; i < tensors.size(); ++i)
    for (const formats::GgufTensor::Part& part : tensors[i].parts) tensor_of.emplace(part.name, i);
  std::vector<formats::GgufTensor> ordered;
  for (const auto& [name, parameter] : parameters) {
    const auto found = tensor_of.find(name);
    if (found == tensor_of.end())
      refuse_gguf(config, fmt::format("architecture {} has no place for {}", architecture.name, name));
    if (tensors[found->second].parts.front().name == name) ordered.push_back(tensors[found->second]);
  }
  return ordered;
}

std::vector<formats::GgufTensor> gguf_layout(const TransformerConfig& config) {
  return gguf_layout(config, all_parameters(*find_family(config.model_type).build(config)));
}

}  // namespace phalanx::model
