#include "formats/hf_config.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "core/files.h"
#include "core/json.h"
#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

using core::DType;
using nlohmann::json;
using Kind = FormatErrorKind;

constexpr double kHuge = 1e30;
constexpr int64_t kMaxTokenId = std::numeric_limits<int32_t>::max();

/// Keys of transformers' PretrainedConfig and of generation that leave the logits alone.
const std::set<std::string, std::less<>> kHarmless = {
    "_name_or_path",
    "transformers_version",
    "use_cache",
    "torchscript",
    "auto_map",
    "architectures",
    "initializer_range",
    "pretraining_tp",
    "return_dict",
    "output_hidden_states",
    "output_attentions",
    "use_bfloat16",
    "tf_legacy_loss",
    "pruned_heads",
    "chunk_size_feed_forward",
    "is_encoder_decoder",
    "is_decoder",
    "add_cross_attention",
    "tie_encoder_decoder",
    "finetuning_task",
    "id2label",
    "label2id",
    "problem_type",
    "tokenizer_class",
    "prefix",
    "sep_token_id",
    "decoder_start_token_id",
    "task_specific_params",
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "output_scores",
    "return_dict_in_generate",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "unk_token_id",
    "transformers.js_config",
    "is_llama_config",
    "trust_remote_code",
    "custom_pipelines",
    "torch_dtype",
    "dtype",
    "_sliding_window_pattern",  // of gemma3, beside the layer_types that it made
    "attn_pdrop",               // dropout, of which notices() speaks
    "resid_pdrop",
    "embd_pdrop",
    "reorder_and_upcast_attn",  // precision only
    "cross_attention_hidden_size",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "n_ctx",
    "cache_implementation",
};

/// Keys of one family or another that change what a model computes, with the values that do not. A family
/// that knows such a key reads it.
const std::map<std::string, std::vector<json>, std::less<>> kNeutral = {
    {"alibi", {false}},
    {"attention_bias", {false}},
    {"attention_multiplier", {1.0}},
    {"attention_chunk_size", {}},
    {"attention_out_bias", {false}},
    {"attention_sink_size", {}},
    {"attn_logit_softcapping", {}},
    {"attn_temperature_tuning", {false}},
    {"clip_qkv", {}},
    {"decoder_sparse_step", {1}},
    {"embedding_multiplier", {1.0}},
    {"final_logit_softcapping", {}},
    {"first_k_dense_replace", {}},
    {"full_attention_interval", {}},
    {"hidden_activation", {}},
    {"kv_lora_rank", {}},
    {"layer_types", {}},
    {"logit_scale", {1.0}},
    {"logits_scaling", {1.0}},
    {"mlp_bias", {false}},
    {"mlp_only_layers", {json::array()}},
    {"moe_intermediate_size", {}},
    {"n_routed_experts", {}},
    {"n_shared_experts", {0}},
    {"no_rope_layers", {json::array()}},
    {"norm_topk_prob", {}},
    {"num_experts", {0}},
    {"num_local_experts", {0}},
    {"num_nextn_predict_layers", {0}},
    {"parallel_attn", {false}},
    {"partial_rotary_factor", {1.0}},
    {"qk_layernorm", {false}},
    {"qkv_bias", {false}},
    {"quantization_config", {}},
    {"query_pre_attn_scalar", {}},
    {"residual_multiplier", {1.0}},
    {"rope_local_base_freq", {}},
    {"rotary_dim", {}},
    {"rotary_pct", {1.0}},
    {"scale_attn_by_inverse_layer_idx", {false}},
    {"scale_attn_weights", {true}},
    {"scale_embedding", {false}},
    {"shared_expert_intermediate_size", {0}},
    {"sliding_window", {}},
    {"sliding_window_pattern", {}},
    {"text_config", {}},
    {"use_bias", {false}},
    {"use_bidirectional_attention", {false}},
    {"use_mrope", {false}},
    {"use_parallel_residual", {false}},
    {"use_qk_norm", {false}},
    {"use_qkv_bias", {false}},
    {"use_sliding_window", {false}},
    {"vision_config", {}},
};

struct RopeType {
  std::string_view name;
  std::vector<std::string_view> required, optional;
};

const std::array<RopeType, 6> kRopeTypes = {{
    {"default", {}, {}},
    {"linear", {"factor"}, {}},
    {"dynamic", {"factor"}, {"original_max_position_embeddings"}},
    {"yarn",
     {"factor", "original_max_position_embeddings"},
     {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}},
    {"longrope", {"original_max_position_embeddings"}, {"attention_factor", "factor"}},
    {"llama3", {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, {}},
}};

const RopeType& find_rope_type(const HfConfig& config, const std::string& name) {
  for (const RopeType& type : kRopeTypes)
    if (type.name == name) return type;
  fail_in(Kind::kRange, config.path(),
          "rope_type is {}; default, linear, dynamic, yarn, longrope and llama3 exist",
          core::printable(name));
}

/// One spelling as it stands, before it is held against the other.
struct Spelling {
  std::string name;  // "rope_parameters" or "rope_scaling"
  std::optional<std::string> type;
  std::map<std::string, double> numbers;
};

std::optional<std::string> read_rope_type(const JsonFields& fields) {
  const auto type = fields.find_text("rope_type"), old_type = fields.find_text("type");
  if (type && old_type && *type != *old_type)
    fail_in(Kind::kRange, fields.path(), "rope_type is {}, but type beside it is {}", core::printable(*type),
            core::printable(*old_type));
  return type ? type : old_type;
}

std::optional<Spelling> read_spelling(const HfConfig& config, const std::string& name) {
  const std::optional<JsonFields> fields = config.find_object(name);
  if (!fields) return std::nullopt;
  Spelling spelling{name, read_rope_type(*fields), {}};
  for (const std::string& key : fields->keys()) {
    if (key == "rope_type" || key == "type" || !fields->has(key)) continue;
    const json& value = *fields->raw(key);
    if (key == "short_factor" || key == "long_factor") continue;  // not numbers; longrope
    if (key == "partial_rotary_factor") {                         // phi3 writes it where it has no effect
      if (value != 1.0) fields->fail_value(key, "1: heads are rotated whole");
      continue;
    }
    if (key == "truncate") {
      if (!value.is_boolean()) fields->fail_value(key, "true or false");
      spelling.numbers[key] = value.get<bool>() ? 1 : 0;
      continue;
    }
    if (!value.is_number()) fields->fail_value(key, "a number");
    spelling.numbers[key] = fields->number(key, key == "rope_theta" ? 0 : -kHuge, kHuge);
  }
  return spelling;
}

void require_equal(const HfConfig& config, const std::string& a, double value_a, const std::string& b,
                   double value_b) {
  if (value_a != value_b)
    fail_in(Kind::kRange, config.path(), "{} is {}, but {} is {}; remove the one that is wrong", a, value_a,
            b, value_b);
}

void require_agreement(const HfConfig& config, const Spelling& a, const Spelling& b) {
  const std::string type_a = a.type.value_or("default"), type_b = b.type.value_or("default");
  if (type_a != type_b)
    fail_in(Kind::kRange, config.path(),
            "{}.rope_type is {}, but {}.rope_type is {}; remove the one that is wrong", a.name,
            core::printable(type_a), b.name, core::printable(type_b));
  for (const auto& [key, value] : a.numbers)
    if (const auto other = b.numbers.find(key); other != b.numbers.end())
      require_equal(config, a.name + "." + key, value, b.name + "." + key, other->second);
}

void check_keys(const HfConfig& config, const RopeParameters& rope) {
  const RopeType& type = find_rope_type(config, rope.rope_type);
  for (const std::string_view key : type.required)
    if (!rope.numbers.contains(std::string(key)))
      fail_in(Kind::kMissing, config.path(), "rope_type {} needs {}", type.name, key);
  for (const auto& [key, value] : rope.numbers)
    if (std::ranges::find(type.required, key) == type.required.end() &&
        std::ranges::find(type.optional, key) == type.optional.end())
      fail_in(Kind::kRange, config.path(), "rope_type {} has no key {}", type.name, core::printable(key));
}

constexpr std::array<std::pair<std::string_view, DType>, 4> kDTypeNames = {{{"float64", DType::kF64},
                                                                            {"float32", DType::kF32},
                                                                            {"float16", DType::kF16},
                                                                            {"bfloat16", DType::kBF16}}};

/// Integers stay integers in JSON: 8192, not 8192.0.
json as_json_number(double value) {
  const bool integral = value == double(int64_t(value)) && std::abs(value) < 1e15;
  return integral ? json(int64_t(value)) : json(value);
}

}  // namespace

HfConfig::HfConfig(const std::filesystem::path& file)
    : JsonFields(json(core::read_json(file.string())), file) {}

std::vector<std::string> HfConfig::unread_that_may_matter() const {
  std::vector<std::string> keys = unread();
  std::erase_if(keys, [](const std::string& key) { return kHarmless.contains(key); });
  return keys;
}

std::vector<std::string> HfConfig::unread_that_matter() const {
  std::vector<std::string> found;
  for (const std::string& key : unread()) {
    const auto neutral = kNeutral.find(key);
    if (neutral == kNeutral.end()) continue;
    const json& value = *raw(key);
    const auto& values = neutral->second;
    if (std::ranges::find(values, value) == values.end())
      found.push_back(fmt::format("{} = {}", key, core::printable(value.dump())));
  }
  return found;
}

std::vector<std::string> HfConfig::notices() const {
  std::vector<std::string> notices;
  for (const char* key : {"attn_pdrop", "resid_pdrop", "embd_pdrop"}) {
    const json* value = raw(key);
    if (value && *value != 0)
      notices.push_back(fmt::format("{}: {} is {}; training is without dropout", path().string(), key,
                                    core::printable(value->dump())));
  }
  for (const char* key : {"auto_map", "trust_remote_code", "custom_pipelines"})
    if (has(key))
      notices.push_back(
          fmt::format("{}: {} is ignored; no code of a model folder is ever run", path().string(), key));
  return notices;
}

RopeParameters read_rope(const HfConfig& config) {
  const std::optional<double> theta = config.find_number("rope_theta", 0, kHuge);
  std::optional<Spelling> parameters = read_spelling(config, "rope_parameters");
  const std::optional<Spelling> scaling = read_spelling(config, "rope_scaling");
  if (parameters && scaling) require_agreement(config, *parameters, *scaling);
  RopeParameters rope;
  for (const auto& spelling : {parameters, scaling}) {
    if (!spelling) continue;
    rope.rope_type = spelling->type.value_or("default");
    rope.numbers.insert(spelling->numbers.begin(), spelling->numbers.end());
  }
  if (const auto inner = rope.numbers.extract("rope_theta")) {
    if (theta) require_equal(config, "rope_theta", *theta, "rope_parameters.rope_theta", inner.mapped());
    rope.rope_theta = inner.mapped();
  } else {
    rope.rope_theta = theta;
  }
  check_keys(config, rope);
  return rope;
}

LayerRopes read_layer_ropes(const HfConfig& config) {
  constexpr const char *kFull = "full_attention", *kSliding = "sliding_attention";
  LayerRopes ropes;
  ropes.sliding_theta = config.find_number("rope_local_base_freq", 0, kHuge);
  const json* parameters = config.raw("rope_parameters");
  const bool has_both = parameters && parameters->is_object() &&
                        (parameters->contains(kFull) || parameters->contains(kSliding));
  if (!has_both) {
    ropes.full = read_rope(config);
    return ropes;
  }
  for (const auto& [key, value] : parameters->items()) {
    if (key != kFull && key != kSliding)
      fail_in(Kind::kRange, config.path(), "rope_parameters has the key {} beside {} and {}",
              core::printable(key), kFull, kSliding);
  }
  const auto kind = [&](const char* name) {
    json object = json::object();
    if (parameters->contains(name)) object["rope_parameters"] = parameters->at(name);
    return object;
  };
  json full = kind(kFull);
  for (const char* key : {"rope_theta", "rope_scaling"})
    if (const json* value = config.raw(key)) full[key] = *value;
  ropes.full = read_rope(HfConfig(full, config.path()));
  const RopeParameters sliding = read_rope(HfConfig(kind(kSliding), config.path()));
  if (sliding.rope_type != "default")
    fail_in(Kind::kRange, config.path(), "rope_parameters.{}.rope_type is {}; only default is allowed",
            kSliding, core::printable(sliding.rope_type));
  if (ropes.sliding_theta && sliding.rope_theta)
    require_equal(config, "rope_local_base_freq", *ropes.sliding_theta,
                  "rope_parameters.sliding_attention.rope_theta", *sliding.rope_theta);
  if (sliding.rope_theta) ropes.sliding_theta = sliding.rope_theta;
  return ropes;
}

std::optional<DType> read_dtype(const HfConfig& config) {
  const auto dtype = config.find_text("dtype"), torch_dtype = config.find_text("torch_dtype");
  if (dtype && torch_dtype && *dtype != *torch_dtype)
    fail_in(Kind::kRange, config.path(), "dtype is {}, but torch_dtype is {}; remove the one that is wrong",
            core::printable(*dtype), core::printable(*torch_dtype));
  if (!dtype && !torch_dtype) return std::nullopt;
  for (const auto& [name, known] : kDTypeNames)
    if (name == (dtype ? *dtype : *torch_dtype)) return known;
  config.fail_value(dtype ? "dtype" : "torch_dtype", "float64, float32, float16 or bfloat16");
}

void set_dtype(json& config, DType dtype) {
  for (const auto& [name, known] : kDTypeNames)
    if (known == dtype) config["dtype"] = config["torch_dtype"] = name;
}

void set_rope(json& config, const RopeParameters& rope) {
  json scaling = {{"rope_type", rope.rope_type}};
  for (const auto& [key, value] : rope.numbers)
    if (key == "truncate") {
      scaling[key] = value != 0;
    } else {
      scaling[key] = key == "original_max_position_embeddings" ? as_json_number(value) : json(value);
    }
  config["rope_scaling"] = rope.rope_type == "default" ? json(nullptr) : scaling;
  config["rope_theta"] = rope.rope_theta.value();
  config["rope_parameters"] = scaling;
  config["rope_parameters"]["rope_theta"] = rope.rope_theta.value();
}

void set_layer_ropes(json& config, const LayerRopes& ropes) {
  set_rope(config, ropes.full);
  const json full = config["rope_parameters"];
  config["rope_local_base_freq"] = ropes.sliding_theta.value();
  config["rope_parameters"] = {
      {"full_attention", full},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", ropes.sliding_theta.value()}}}};
}

GenerationConfig read_generation_config(const std::filesystem::path& file) {
  const JsonFields fields(json(core::read_json(file.string())), file);
  GenerationConfig config;
  config.bos_token_id = fields.find_integer("bos_token_id", 0, kMaxTokenId);
  config.pad_token_id = fields.find_integer("pad_token_id", -1, kMaxTokenId);
  config.eos_token_ids = fields.integers("eos_token_id", 0, kMaxTokenId);
  config.do_sample = fields.find_boolean("do_sample");
  config.top_k = fields.find_integer("top_k", 0, kMaxTokenId);
  config.temperature = fields.find_number("temperature", -1, kHuge);
  config.top_p = fields.find_number("top_p", -1, 1);
  config.min_p = fields.find_number("min_p", -1, 1);
  config.repetition_penalty = fields.find_number("repetition_penalty", 0, kHuge);
  return config;
}

void write_generation_config(const std::filesystem::path& file, const GenerationConfig& config) {
  json value = json::object();
  const auto set = [&](const char* key, const auto& member) {
    if (member) value[key] = *member;
  };
  set("bos_token_id", config.bos_token_id);
  set("pad_token_id", config.pad_token_id);
  set("do_sample", config.do_sample);
  set("top_k", config.top_k);
  set("temperature", config.temperature);
  set("top_p", config.top_p);
  set("min_p", config.min_p);
  set("repetition_penalty", config.repetition_penalty);
  if (config.eos_token_ids.size() == 1) value["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) value["eos_token_id"] = config.eos_token_ids;
  write_hf_json(file, value);
}

void write_hf_json(const std::filesystem::path& file, const json& value) {
  core::write_file_atomic(file.string(), value.dump(2, ' ', true) + "\n");
}

}  // namespace phalanx::formats
