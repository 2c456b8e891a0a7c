#include "model/config_json.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "model/activation_names.h"
#include "model/causal_lm.h"

namespace phalanx::model {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;
constexpr const char *kClassifier = "ForSequenceClassification", *kTokenClassifier = "ForTokenClassification";
constexpr int64_t kDefaultLabels = 2;  // transformers writes no id2label then

std::optional<int64_t> find_id(const formats::HfConfig& file, const char* key) {
  return file.find_integer(key, 0, kMaxSize);
}

std::optional<RopeScaling> scaling_of(const formats::HfConfig& file, const formats::RopeParameters& rope) {
  if (rope.rope_type == "default") return std::nullopt;
  if (rope.rope_type == "longrope") {
    core::fail(core::ExitCode::kBadInput,
               "{}: rope_type is \"longrope\"; default, linear, dynamic, yarn and llama3 are implemented",
               file.path().string());
  }
  const auto find = [&](const char* key) {
    const auto found = rope.numbers.find(key);
    return found == rope.numbers.end() ? std::nullopt : std::optional<double>(found->second);
  };
  return RopeScaling{.rope_type = rope.rope_type,
                     .factor = find("factor").value_or(1),
                     .low_freq_factor = find("low_freq_factor").value_or(0),
                     .high_freq_factor = find("high_freq_factor").value_or(0),
                     .original_max_position_embeddings =
                         static_cast<int64_t>(find("original_max_position_embeddings").value_or(0)),
                     .attention_factor = find("attention_factor"),
                     .beta_fast = find("beta_fast"),
                     .beta_slow = find("beta_slow"),
                     .mscale = find("mscale"),
                     .mscale_all_dim = find("mscale_all_dim"),
                     .truncate = find("truncate").value_or(1) != 0};
}

formats::RopeParameters parameters_of(const TransformerConfig& c) {
  formats::RopeParameters rope{.rope_type = "default", .rope_theta = c.rope_theta, .numbers = {}};
  if (!c.rope_scaling) return rope;
  const RopeScaling& s = *c.rope_scaling;
  rope.rope_type = s.rope_type;
  rope.numbers["factor"] = s.factor;
  if (s.rope_type == "llama3") {
    rope.numbers["low_freq_factor"] = s.low_freq_factor;
    rope.numbers["high_freq_factor"] = s.high_freq_factor;
  }
  if (s.original_max_position_embeddings > 0) {
    rope.numbers["original_max_position_embeddings"] =
        static_cast<double>(s.original_max_position_embeddings);
  }
  for (const auto& [key, value] : {std::pair("attention_factor", s.attention_factor),
                                   {"beta_fast", s.beta_fast},
                                   {"beta_slow", s.beta_slow},
                                   {"mscale", s.mscale},
                                   {"mscale_all_dim", s.mscale_all_dim}}) {
    if (value) rope.numbers[key] = *value;
  }
  if (!s.truncate) rope.numbers["truncate"] = 0;
  return rope;
}

void read_rotary(const formats::HfConfig& file, TransformerConfig& c) {
  if (c.rope_local_base_freq) {
    const formats::LayerRopes ropes = formats::read_layer_ropes(file);
    c.rope_local_base_freq = ropes.sliding_theta.value_or(*c.rope_local_base_freq);
    c.rope_theta = ropes.full.rope_theta.value_or(c.rope_theta);
    c.rope_scaling = scaling_of(file, ropes.full);
    return;
  }
  const formats::RopeParameters rope = formats::read_rope(file);
  c.rope_theta = rope.rope_theta.value_or(c.rope_theta);
  c.rope_scaling = scaling_of(file, rope);
}

// Gemma's files say hidden_activation; what stands beside it under the other name is then ignored by the
// reference, too.
std::string read_activation(const formats::HfConfig& file, const std::string& absent) {
  const auto common = file.find_text("hidden_act"), other = file.find_text("hidden_activation");
  const std::string name = other ? *other : common.value_or(absent);
  try {
    activation_of(name);
  } catch (const core::Error& error) {
    core::fail(core::ExitCode::kBadInput, "{}: {}", file.path().string(), error.what());
  }
  return name;
}

// Keys that would change the result if they had another value than the one that is implemented.
void refuse_what_is_missing(const formats::HfConfig& file) {
  const nlohmann::json* dropout = file.raw("attention_dropout");
  if (dropout && *dropout != 0) {
    core::fail(core::ExitCode::kBadInput, "{}: attention_dropout is {}; only 0 is implemented",
               file.path().string(), core::printable(dropout->dump()));
  }
}

int64_t read_key_value_heads(const formats::HfConfig& file, const TransformerConfig& c) {
  // The family's default is for a key that is absent; null, too, means as many as query heads.
  const bool use_default = !file.contains("num_key_value_heads") && c.num_key_value_heads > 0;
  return file.find_integer("num_key_value_heads", 1, kMaxSize)
      .value_or(use_default ? c.num_key_value_heads : c.num_attention_heads);
}

bool names_class(const formats::HfConfig& file, const char* end) {
  return std::ranges::any_of(file.texts("architectures"),
                             [end](const std::string& name) { return name.ends_with(end); });
}

int64_t read_num_labels(const formats::HfConfig& file) {
  const std::optional<formats::JsonFields> labels = file.find_object("id2label");
  const std::optional<int64_t> count = file.find_integer("num_labels", 1, kMaxSize);
  if (labels)
    for (const std::string& id : labels->keys()) (void)labels->raw(id);
  if (const auto ids = file.find_object("label2id"))
    for (const std::string& name : ids->keys()) (void)ids->raw(name);
  if (!names_class(file, kClassifier) && !names_class(file, kTokenClassifier)) return 0;
  return labels ? static_cast<int64_t>(labels->keys().size()) : count.value_or(kDefaultLabels);
}

int64_t read_head_dim(const formats::HfConfig& file, const TransformerConfig& c) {
  // As above.
  const bool use_default = !file.contains("head_dim") && c.head_dim > 0;
  if (const auto given = file.find_integer("head_dim", 1, kMaxSize)) return *given;
  if (use_default) return c.head_dim;
  if (c.hidden_size % c.num_attention_heads != 0) {
    core::fail(core::ExitCode::kBadInput,
               "{}: hidden_size is {} but must be a multiple of num_attention_heads = {} where head_dim is "
               "not given",
               file.path().string(), c.hidden_size, c.num_attention_heads);
  }
  return c.hidden_size / c.num_attention_heads;
}

}  // namespace

formats::HfConfig in_common_keys(const formats::HfConfig& file) {
  const Family& family = find_family(file.text("model_type"));
  if (!family.to_common_keys) return file;
  nlohmann::json object = nlohmann::json::object();
  for (const std::string& key : file.keys())
    object[key] = file.has(key) ? *file.raw(key) : nlohmann::json(nullptr);
  family.to_common_keys(object);
  return {object, file.path()};
}

int64_t read_window(const formats::HfConfig& file, int64_t absent) {
  if (!file.contains("sliding_window")) return absent;
  return file.find_integer("sliding_window", 0, kMaxSize).value_or(0);
}

std::vector<bool> read_layer_types(const formats::HfConfig& file, int64_t num_layers) {
  const std::vector<std::string> types = file.texts("layer_types");
  if (types.empty()) return {};
  if (static_cast<int64_t>(types.size()) != num_layers) {
    core::fail(core::ExitCode::kBadInput, "{}: layer_types has {} entries but num_hidden_layers is {}",
               file.path().string(), types.size(), num_layers);
  }
  std::vector<bool> sliding;
  for (const std::string& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      core::fail(core::ExitCode::kBadInput,
                 "{}: layer_types has \"{}\"; full_attention and sliding_attention are implemented",
                 file.path().string(), core::printable(type));
    }
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

void write_layer_types(const TransformerConfig& c, nlohmann::json& file) {
  file["layer_types"] = nlohmann::json::array();
  for (int64_t i = 0; i < c.num_hidden_layers; ++i)
    file["layer_types"].push_back(c.is_sliding(i) ? "sliding_attention" : "full_attention");
}

double read_or_null(const formats::HfConfig& file, const char* key, double absent) {
  if (!file.contains(key)) return absent;
  const nlohmann::json* value = file.raw(key);
  if (value == nullptr) return 0;
  if (!value->is_number() || !(value->get<double>() >= 0)) file.fail_value(key, "null or a number from 0 on");
  return value->get<double>();
}

void refuse_unread(const formats::HfConfig& file, const TransformerConfig& config) {
  const std::vector<std::string> keys = file.unread_that_matter();
  if (!keys.empty()) {
    core::fail(core::ExitCode::kBadInput,
               "{}: {} would change what the model computes, and is not implemented for {}; remove what does "
               "not belong there, or use a model of a supported architecture: {}",
               file.path().string(), fmt::join(keys, ", "), config.model_type,
               fmt::join(family_architectures(), ", "));
  }
  const std::vector<std::string> named = file.texts("architectures");
  const std::string expected = architecture_of(config);
  if (!named.empty() && std::ranges::find(named, expected) == named.end()) {
    core::fail(core::ExitCode::kBadInput, "{}: architectures is {}; supported are {}", file.path().string(),
               core::printable(fmt::format("{}", fmt::join(named, ", "))),
               fmt::join(family_architectures(), ", "));
  }
}

std::string architecture_of(const TransformerConfig& config) {
  const std::string& own = find_family(config.model_type).architecture;
  if (config.num_labels == 0) return own;
  for (const std::string_view end : {"ForCausalLM", "LMHeadModel"}) {
    if (own.ends_with(end))
      return own.substr(0, own.size() - end.size()) + (config.labels_tokens ? kTokenClassifier : kClassifier);
  }
  return own;
}

TransformerConfig parse_config(const formats::HfConfig& file) {
  const Family& family = find_family(file.text("model_type"));
  TransformerConfig c = family.defaults;
  c.model_type = family.name;
  refuse_what_is_missing(file);
  c.vocab_size = file.integer("vocab_size", 1, kMaxSize);
  c.hidden_size = file.integer("hidden_size", 1, kMaxSize);
  c.intermediate_size = file.integer("intermediate_size", 1, kMaxSize);
  c.num_hidden_layers = file.integer("num_hidden_layers", 1, 10000);
  c.num_attention_heads = file.integer("num_attention_heads", 1, kMaxSize);
  c.num_key_value_heads = read_key_value_heads(file, c);
  c.head_dim = read_head_dim(file, c);
  c.hidden_act = read_activation(file, c.hidden_act);
  c.max_position_embeddings =
      file.find_integer("max_position_embeddings", 1, kMaxSize).value_or(c.max_position_embeddings);
  c.rms_norm_eps = file.find_number("rms_norm_eps", 0, 1).value_or(c.rms_norm_eps);
  c.tie_word_embeddings = file.find_boolean("tie_word_embeddings").value_or(c.tie_word_embeddings);
  if (const nlohmann::json* range = file.raw("initializer_range"); range && range->is_number()) {
    c.initializer_range = range->get<double>();
  }
  read_rotary(file, c);
  c.bos_token_id = find_id(file, "bos_token_id");
  c.eos_token_ids = file.integers("eos_token_id", 0, kMaxSize);
  c.pad_token_id = find_id(file, "pad_token_id");
  c.num_labels = read_num_labels(file);
  c.labels_tokens = c.num_labels > 0 && names_class(file, kTokenClassifier);
  if (family.read_config) family.read_config(file, c);
  c.validate(file.path().string());
  return c;
}

nlohmann::json to_json(const TransformerConfig& c, core::DType dtype) {
  using nlohmann::json;
  const auto id = [](const std::optional<int64_t>& value) { return value ? json(*value) : json(nullptr); };
  json eos = nullptr;
  if (c.eos_token_ids.size() == 1) eos = c.eos_token_ids.front();
  if (c.eos_token_ids.size() > 1) eos = c.eos_token_ids;
  const Family& family = find_family(c.model_type);
  json config = {{"architectures", {architecture_of(c)}},
                 {"model_type", c.model_type},
                 {"vocab_size", c.vocab_size},
                 {"hidden_size", c.hidden_size},
                 {"intermediate_size", c.intermediate_size},
                 {"num_hidden_layers", c.num_hidden_layers},
                 {"num_attention_heads", c.num_attention_heads},
                 {"num_key_value_heads", c.num_key_value_heads},
                 {"head_dim", c.head_dim},
                 {"hidden_act", c.hidden_act},
                 {"max_position_embeddings", c.max_position_embeddings},
                 {"rms_norm_eps", c.rms_norm_eps},
                 {"initializer_range", c.initializer_range},
                 {"attention_dropout", 0.0},
                 {"tie_word_embeddings", c.tie_word_embeddings},
                 {"use_cache", true},
                 {"bos_token_id", id(c.bos_token_id)},
                 {"eos_token_id", eos},
                 {"pad_token_id", id(c.pad_token_id)}};
  if (c.rope_local_base_freq) {
    formats::set_layer_ropes(config, {parameters_of(c), c.rope_local_base_freq});
  } else {
    formats::set_rope(config, parameters_of(c));
  }
  formats::set_dtype(config, dtype);
  if (family.write_config) family.write_config(c, config);
  for (int64_t label = 0; label < c.num_labels; ++label) {
    const std::string name = fmt::format("LABEL_{}", label);
    config["id2label"][std::to_string(label)] = name;
    config["label2id"][name] = label;
  }
  return config;
}

}  // namespace phalanx::model
