#include "model/model_options.h"

#include <fmt/ranges.h>

#include "core/config.h"
#include "model/causal_lm.h"

namespace phalanx::model {
namespace {

using core::ExitCode;

void declare(core::SectionBuilder<ModelOptions>& s) {
  using O = ModelOptions;
  s.field("path", &O::path,
          {.help = "Hugging Face folder, .gguf file or checkpoint that the weights come from.",
           .path = core::PathOf::kModel});
  s.field("family", &O::family,
          {.help = "Instead of path: train a new model of this family.",
           .one_of = {"gemma2", "gemma3_text", "gpt2", "llama", "mistral", "mixtral", "olmo2", "phi3",
                      "qwen2", "qwen3", "qwen3_moe"}});
  s.field("vocab_size", &O::vocab_size,
          {.help = "Rows of the embedding; the tokenizer's size unless set.", .unit = "tokens", .min = 1});
  s.field("hidden_size", &O::hidden_size, {.help = "Width of the residual stream.", .min = 1});
  s.field("intermediate_size", &O::intermediate_size, {.help = "Width of the feed-forward part.", .min = 1});
  s.field("num_hidden_layers", &O::num_hidden_layers, {.help = "Number of decoder layers.", .min = 1});
  s.field("num_attention_heads", &O::num_attention_heads, {.help = "Number of query heads.", .min = 1});
  s.field("num_key_value_heads", &O::num_key_value_heads,
          {.help = "Number of key and value heads; as many as query heads unless set.", .min = 1});
  s.field("head_dim", &O::head_dim,
          {.help = "Size of a head; hidden_size / num_attention_heads unless set.", .min = 2});
  s.field("max_position_embeddings", &O::max_position_embeddings,
          {.help = "Longest context.", .unit = "tokens", .min = 1});
  s.field("rms_norm_eps", &O::rms_norm_eps, {.help = "Epsilon of the norms.", .min = 0, .above_min = true});
  s.field("rope_theta", &O::rope_theta,
          {.help = "Base of the rotary frequencies.", .min = 0, .above_min = true});
  s.field("tie_word_embeddings", &O::tie_word_embeddings, {.help = "Use the embedding as output matrix."});
  s.field("initializer_range", &O::initializer_range,
          {.help = "Standard deviation of new matrices.", .min = 0});
  s.field("num_local_experts", &O::num_local_experts,
          {.help = "mixtral: experts in each layer; 8 unless set.", .min = 1});
  s.field("num_experts_per_tok", &O::num_experts_per_tok,
          {.help = "mixtral: experts that see each token; 2 unless set.", .min = 1});
  s.field("output_router_logits", &O::output_router_logits,
          {.help = "mixtral: the router's load-balancing loss joins the training loss, as config.json says "
                   "for models that are loaded; true unless set."});
  s.field("router_aux_loss_coef", &O::router_aux_loss_coef,
          {.help = "mixtral: coefficient of the load-balancing loss; 0.001 unless set.", .min = 0});
  s.field("router_z_loss_coef", &O::router_z_loss_coef,
          {.help = "mixtral: coefficient of the router z-loss; 0 unless set.", .min = 0});
  s.field("dtype", &O::dtype,
          {.help = "Element type of saved weights; auto: the source's (bf16 where that is quantised, or the "
                   "model new).",
           .one_of = {"auto", "fp64", "fp32", "fp16", "bf16"}});
  s.field("tokenizer", &O::tokenizer,
          {.help = "Folder or .gguf file of the tokenizer; model.path unless set.",
           .path = core::PathOf::kAnyModel});
  s.field(
      "chat_template", &O::chat_template,
      {.help = "File with a Jinja chat template in place of the tokenizer's.", .path = core::PathOf::kFile});
}

/// Those that are set.
std::vector<const char*> expert_keys(const ModelOptions& o) {
  std::vector<const char*> keys;
  for (const auto& [key, is_set] : {std::pair("num_local_experts", o.num_local_experts.has_value()),
                                    {"num_experts_per_tok", o.num_experts_per_tok.has_value()},
                                    {"output_router_logits", o.output_router_logits.has_value()},
                                    {"router_aux_loss_coef", o.router_aux_loss_coef.has_value()},
                                    {"router_z_loss_coef", o.router_z_loss_coef.has_value()}}) {
    if (is_set) keys.push_back(key);
  }
  return keys;
}

[[maybe_unused]] const bool registered = core::register_section<ModelOptions>(
    "model", "The model that is trained, and its tokenizer.", [](auto& s) { declare(s); });

[[maybe_unused]] const bool constrained = core::add_constraint(
    "model.path or model.family", [](const core::Config& config, std::vector<core::Violation>& out) {
      const ModelOptions& o = config.get<ModelOptions>();
      if (o.path && o.family) {
        out.push_back({"model.family",
                       "model.family and model.path are both set; path loads weights, family starts new "
                       "ones: remove one"});
      }
    });

[[maybe_unused]] const bool experts_constrained = core::add_constraint(
    "router of a loaded model", [](const core::Config& config, std::vector<core::Violation>& out) {
      const ModelOptions& o = config.get<ModelOptions>();
      for (const char* key : expert_keys(o)) {
        if (o.path) {
          out.push_back({fmt::format("model.{}", key),
                         fmt::format("model.{} is for new models (model.family); the config.json of "
                                     "model.path has its own: change it there",
                                     key)});
        }
      }
    });

int64_t require(const std::optional<int64_t>& value, const char* key) {
  if (!value) {
    core::fail(ExitCode::kBadConfig,
               "model.{} is not set; a new model (model.family) needs it, or set model.path", key);
  }
  return *value;
}

void refuse_experts(const std::string& family, const ModelOptions& options) {
  for (const char* key : expert_keys(options)) {
    core::fail(ExitCode::kBadConfig,
               "model.{} is set but {} has no experts; leave it out or set model.family to mixtral", key,
               family);
  }
}

void set_experts(const ModelOptions& options, TransformerConfig& c) {
  if (c.num_local_experts == 0) return refuse_experts(c.model_type, options);
  c.moe_intermediate_size = 0;
  c.num_local_experts = options.num_local_experts.value_or(c.num_local_experts);
  c.num_experts_per_tok = options.num_experts_per_tok.value_or(c.num_experts_per_tok);
  // On, unlike in transformers: a router that is trained from nothing without it sends all to few experts.
  c.output_router_logits = options.output_router_logits.value_or(true);
  c.router_aux_loss_coef = options.router_aux_loss_coef.value_or(c.router_aux_loss_coef);
  c.router_z_loss_coef = options.router_z_loss_coef.value_or(c.router_z_loss_coef);
}

}  // namespace

TransformerConfig config_of_new_model(const ModelOptions& options, int64_t tokenizer_vocab_size) {
  const Family& family = find_family(options.family.value_or("llama"));
  TransformerConfig c = family.defaults;
  c.model_type = family.name;
  c.vocab_size = options.vocab_size || tokenizer_vocab_size == 0 ? require(options.vocab_size, "vocab_size")
                                                                 : tokenizer_vocab_size;
  if (c.vocab_size < tokenizer_vocab_size) {
    core::fail(
        ExitCode::kBadConfig,
        "model.vocab_size is {} but the tokenizer has {} tokens; set it to that or more, or leave it out",
        c.vocab_size, tokenizer_vocab_size);
  }
  c.hidden_size = require(options.hidden_size, "hidden_size");
  c.intermediate_size = require(options.intermediate_size, "intermediate_size");
  c.num_hidden_layers = require(options.num_hidden_layers, "num_hidden_layers");
  c.num_attention_heads = require(options.num_attention_heads, "num_attention_heads");
  c.num_key_value_heads = options.num_key_value_heads.value_or(c.num_attention_heads);
  if (!options.head_dim && c.hidden_size % c.num_attention_heads != 0) {
    core::fail(ExitCode::kBadConfig,
               "model.hidden_size is {} but must be a multiple of model.num_attention_heads = {} where "
               "model.head_dim is not set",
               c.hidden_size, c.num_attention_heads);
  }
  c.head_dim = options.head_dim.value_or(c.hidden_size / c.num_attention_heads);
  c.max_position_embeddings = options.max_position_embeddings;
  c.rms_norm_eps = options.rms_norm_eps;
  c.rope_theta = options.rope_theta;
  c.tie_word_embeddings = options.tie_word_embeddings;
  c.initializer_range = options.initializer_range;
  set_experts(options, c);
  try {
    c.validate("model");
  } catch (const core::Error& error) {
    throw core::Error(ExitCode::kBadConfig, error.what());  // here the user wrote the values
  }
  return c;
}

}  // namespace phalanx::model
