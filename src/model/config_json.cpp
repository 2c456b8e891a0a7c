#include "model/config_json.h"

#include "core/error.h"
#include "model/causal_lm.h"

namespace phalanx::model {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;

std::optional<int64_t> find_id(const formats::HfConfig& file, const char* key) {
  return file.find_integer(key, 0, kMaxSize);
}

void read_rotary(const formats::HfConfig& file, TransformerConfig& c) {
  const formats::RopeParameters rope = formats::read_rope(file);
  c.rope_theta = rope.rope_theta.value_or(c.rope_theta);
  if (rope.rope_type == "default") return;
  if (rope.rope_type != "llama3") {
    core::fail(core::ExitCode::kBadInput,
               "{}: rope_type is \"{}\"; \"default\" and \"llama3\" are implemented", file.path().string(),
               core::printable(rope.rope_type));
  }
  c.rope_scaling = RopeScaling{.factor = rope.numbers.at("factor"),
                               .low_freq_factor = rope.numbers.at("low_freq_factor"),
                               .high_freq_factor = rope.numbers.at("high_freq_factor"),
                               .original_max_position_embeddings =
                                   static_cast<int64_t>(rope.numbers.at("original_max_position_embeddings"))};
}

// Keys that would change the result if they had another value than the one that is implemented.
void refuse_what_is_missing(const formats::HfConfig& file) {
  const std::string activation = file.find_text("hidden_act").value_or("silu");
  if (activation != "silu" && activation != "swish") {
    core::fail(core::ExitCode::kBadInput, "{}: hidden_act is \"{}\"; only \"silu\" is implemented",
               file.path().string(), core::printable(activation));
  }
  const nlohmann::json* dropout = file.raw("attention_dropout");
  if (dropout && *dropout != 0) {
    core::fail(core::ExitCode::kBadInput, "{}: attention_dropout is {}; only 0 is implemented",
               file.path().string(), core::printable(dropout->dump()));
  }
}

int64_t read_key_value_heads(const formats::HfConfig& file, const TransformerConfig& c) {
  // The family's default is for a key that is absent; null, too, means as many as query heads.
  const bool use_default = file.raw("num_key_value_heads") == nullptr && c.num_key_value_heads > 0;
  return file.find_integer("num_key_value_heads", 1, kMaxSize)
      .value_or(use_default ? c.num_key_value_heads : c.num_attention_heads);
}

}  // namespace

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
  c.head_dim = file.find_integer("head_dim", 1, kMaxSize).value_or(c.hidden_size / c.num_attention_heads);
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
  json config = {{"architectures", {family.architecture}},
                 {"model_type", c.model_type},
                 {"vocab_size", c.vocab_size},
                 {"hidden_size", c.hidden_size},
                 {"intermediate_size", c.intermediate_size},
                 {"num_hidden_layers", c.num_hidden_layers},
                 {"num_attention_heads", c.num_attention_heads},
                 {"num_key_value_heads", c.num_key_value_heads},
                 {"head_dim", c.head_dim},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", c.max_position_embeddings},
                 {"rms_norm_eps", c.rms_norm_eps},
                 {"initializer_range", c.initializer_range},
                 {"attention_dropout", 0.0},
                 {"tie_word_embeddings", c.tie_word_embeddings},
                 {"use_cache", true},
                 {"bos_token_id", id(c.bos_token_id)},
                 {"eos_token_id", eos},
                 {"pad_token_id", id(c.pad_token_id)}};
  formats::RopeParameters rope{.rope_type = "default", .rope_theta = c.rope_theta, .numbers = {}};
  if (c.rope_scaling) {
    rope.rope_type = "llama3";
    rope.numbers = {{"factor", c.rope_scaling->factor},
                    {"low_freq_factor", c.rope_scaling->low_freq_factor},
                    {"high_freq_factor", c.rope_scaling->high_freq_factor},
                    {"original_max_position_embeddings", c.rope_scaling->original_max_position_embeddings}};
  }
  formats::set_rope(config, rope);
  formats::set_dtype(config, dtype);
  if (family.write_config) family.write_config(c, config);
  return config;
}

}  // namespace phalanx::model
