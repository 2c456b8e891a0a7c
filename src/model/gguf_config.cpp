#include "model/gguf_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "formats/format_error.h"
#include "formats/rope_divisors.h"
#include "formats/tensor_spec.h"
#include "model/activation_names.h"
#include "model/causal_lm.h"
#include "model/rotary.h"

namespace phalanx::model {
namespace {

using formats::fail_at;
using formats::fail_in;
using formats::GgufKeys;
using formats::kMaxGgufContext;
using formats::kMaxGgufLayers;
using formats::kMaxGgufSize;
using Kind = formats::FormatErrorKind;

constexpr const char* kWindow = "attention.sliding_window";
constexpr const char* kPattern = "attention.sliding_window_pattern";
constexpr const char* kOriginalContext = "rope.scaling.original_context_length";
constexpr double kEngineTheta = 10000;  // where rope.freq_base is absent

std::vector<std::string> readable_architectures() {
  std::vector<std::string> names;
  for (const std::string& name : family_names()) {
    const auto& gguf = find_family(name).gguf;
    if (gguf && std::ranges::find(names, gguf->name) == names.end()) names.push_back(gguf->name);
  }
  return names;
}

void require_model(const formats::GgufMetadata& metadata) {
  const std::string_view type = metadata.find_text("general.type").value_or("model");
  if (type != "model")
    fail_in(Kind::kUnsupported, metadata.path(), "is a GGUF file of type {}, not a model",
            core::printable(type));
}

const Family& family_of(const formats::GgufMetadata& metadata) {
  require_model(metadata);
  const std::string architecture(metadata.text("general.architecture"));
  for (const std::string& name : family_names()) {
    const Family& family = find_family(name);
    if (!family.gguf || family.gguf->name != architecture) continue;
    if (!family.gguf->is_of_family || family.gguf->is_of_family(metadata)) return family;
  }
  const bool is_encoder = !metadata.find_boolean(architecture + ".attention.causal").value_or(true) ||
                          metadata.has(architecture + ".pooling_type");
  if (is_encoder)
    fail_in(
        Kind::kUnsupported, metadata.path(),
        "is not a causal language model but an encoder (general.architecture is {}); only causal language "
        "models are read",
        core::printable(architecture));
  fail_in(Kind::kUnsupported, metadata.path(), "general.architecture is {}; read are {}",
          core::printable(architecture), fmt::join(readable_architectures(), ", "));
}

/// Rows of the embedding; the token list must agree, or ids would point to other tokens' rows.
int64_t read_vocab_size(const formats::GgufFile& file) {
  const formats::TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    fail_in(Kind::kMissing, file.metadata().path(), "has no matrix token_embd.weight");
  const int64_t rows = embedding->shape[0];
  if (file.metadata().has("tokenizer.ggml.tokens")) {
    const auto tokens = int64_t(file.metadata().texts("tokenizer.ggml.tokens").size());
    if (tokens != rows)
      fail_in(Kind::kRange, file.metadata().path(), "has {} tokens, but token_embd.weight has {} rows",
              tokens, rows);
  }
  return rows;
}

void read_sizes(const GgufKeys& keys, TransformerConfig& c) {
  c.hidden_size = keys.integer("embedding_length", 1, kMaxGgufSize);
  c.intermediate_size = keys.integer("feed_forward_length", 1, kMaxGgufSize);
  c.num_hidden_layers = keys.integer("block_count", 1, kMaxGgufLayers);
  c.max_position_embeddings = keys.integer("context_length", 1, kMaxGgufContext);
  c.num_attention_heads = keys.integer("attention.head_count", 1, kMaxGgufSize);
  c.num_key_value_heads =
      keys.integer_or("attention.head_count_kv", c.num_attention_heads, 1, c.num_attention_heads);
  const bool has_length = keys.has("attention.key_length");
  if (!has_length && c.hidden_size % c.num_attention_heads != 0)
    fail_in(Kind::kRange, keys.metadata().path(), "{} {} is not divisible by {} {}",
            keys.name("embedding_length"), c.hidden_size, keys.name("attention.head_count"),
            c.num_attention_heads);
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    fail_in(Kind::kRange, keys.metadata().path(), "{} {} is not divisible by {} {}",
            keys.name("attention.head_count"), c.num_attention_heads, keys.name("attention.head_count_kv"),
            c.num_key_value_heads);
  c.head_dim = has_length ? keys.integer("attention.key_length", 2, kMaxGgufSize)
                          : c.hidden_size / c.num_attention_heads;
  const int64_t value_dim = keys.integer_or("attention.value_length", c.head_dim, 2, kMaxGgufSize);
  const int64_t rotated = keys.integer_or("rope.dimension_count", c.head_dim, 2, kMaxGgufSize);
  if (c.head_dim % 2 != 0 || value_dim != c.head_dim || rotated != c.head_dim)
    fail_in(
        Kind::kUnsupported, keys.metadata().path(),
        "has heads of {} keys, {} values and {} rotated dimensions; one even number for all three is read",
        c.head_dim, value_dim, rotated);
}

RopeScaling read_rope_freqs(const formats::GgufFile& file, const GgufKeys& keys,
                            const formats::TensorInfo& tensor, double theta) {
  std::vector<float> divisors(size_t(formats::count_elements(tensor.shape).value()));
  formats::to_float(tensor.dtype, file.bytes(tensor).data(), int64_t(divisors.size()), divisors.data());
  file.check_unchanged();
  const int64_t context = keys.integer_or(kOriginalContext, 8192, 1, kMaxGgufContext);
  const auto rope = formats::infer_llama3_rope(divisors, theta, context);
  if (!rope)
    fail_at(Kind::kUnsupported, file.metadata().path(), tensor.offset_bytes,
            "{} does not hold the rotary scaling of Llama 3, the only one that is recognised", kRopeFreqs);
  return {.rope_type = "llama3",
          .factor = rope->factor,
          .low_freq_factor = rope->low_freq_factor,
          .high_freq_factor = rope->high_freq_factor,
          .original_max_position_embeddings = rope->original_max_position_embeddings};
}

/// What transformers multiplies cos and sin by where its config does not say, and llama.cpp always;
/// rope.scaling.attn_factor comes on top.
double usual_attention_factor(double factor) {
  return factor <= 1 ? 1 : 0.1 * std::log(factor) + 1;
}

RopeScaling read_yarn(const GgufKeys& keys, double factor, int64_t context) {
  RopeScaling scaling{
      .rope_type = "yarn",
      .factor = factor,
      .original_max_position_embeddings = keys.integer_or(kOriginalContext, context, 1, kMaxGgufContext)};
  if (keys.has("rope.scaling.attn_factor"))
    scaling.attention_factor = keys.positive("rope.scaling.attn_factor") * usual_attention_factor(factor);
  if (keys.has("rope.scaling.yarn_beta_fast"))
    scaling.beta_fast = keys.positive("rope.scaling.yarn_beta_fast");
  if (keys.has("rope.scaling.yarn_beta_slow"))
    scaling.beta_slow = keys.positive("rope.scaling.yarn_beta_slow");
  return scaling;
}

void read_gguf_rotary(const formats::GgufFile& file, const GgufKeys& keys, TransformerConfig& c) {
  c.rope_theta = keys.positive_or("rope.freq_base", kEngineTheta);
  if (const formats::TensorInfo* divisors = file.find(kRopeFreqs)) {
    c.rope_scaling = read_rope_freqs(file, keys, *divisors, c.rope_theta);
    return;
  }
  const double factor = keys.positive_or("rope.scaling.factor", 1);
  const std::string type = keys.text_or("rope.scaling.type", factor == 1 ? "none" : "linear");
  if (type == "linear") {
    if (factor != 1) c.rope_scaling = RopeScaling{.rope_type = "linear", .factor = factor};
  } else if (type == "yarn") {
    c.rope_scaling = read_yarn(keys, factor, c.max_position_embeddings);
  } else if (type != "none") {
    fail_in(Kind::kUnsupported, keys.metadata().path(), "{} is {}; none, linear and yarn are read",
            keys.name("rope.scaling.type"), core::printable(type));
  }
}

std::vector<bool> all_but_every(int64_t period, int64_t num_layers) {
  std::vector<bool> sliding;
  for (int64_t i = 0; i < num_layers; ++i) sliding.push_back((i + 1) % period != 0);
  return sliding;
}

void read_windows(const GgufKeys& keys, int64_t period, TransformerConfig& c) {
  c.sliding_window = 0;
  if (period == 0) return;
  c.sliding_window = keys.integer(kWindow, 1, kMaxGgufContext);
  c.sliding_layers = all_but_every(keys.integer_or(kPattern, period, 1, kMaxGgufLayers), c.num_hidden_layers);
}

void refuse_unread_window(const GgufKeys& keys, const TransformerConfig& c) {
  const int64_t window = keys.integer_or(kWindow, 0, 0, kMaxGgufContext);
  if (c.sliding_window == 0 && window > 0 && window < c.max_position_embeddings)
    fail_in(Kind::kUnsupported, keys.metadata().path(), "{} is {}, which is not read for this architecture",
            keys.name(kWindow), window);
}

void read_token_ids(const formats::GgufMetadata& metadata, TransformerConfig& c) {
  const GgufKeys keys(metadata, "tokenizer.ggml");
  const auto find = [&](const char* key) -> std::optional<int64_t> {
    if (!keys.has(key)) return std::nullopt;
    return keys.integer(key, 0, c.vocab_size - 1);
  };
  c.bos_token_id = find("bos_token_id");
  c.pad_token_id = find("padding_token_id");
  if (const auto eos = find("eos_token_id")) c.eos_token_ids = {*eos};
}

constexpr double kUsualBetaFast = 32, kUsualBetaSlow = 1;  // yarn's

void check_rotary(const GgufArchitecture& architecture, const TransformerConfig& c) {
  if (!c.rope_scaling) return;
  const std::string& type = c.rope_scaling->rope_type;
  if (std::ranges::find(architecture.rope_types, type) == architecture.rope_types.end())
    refuse_gguf(c, fmt::format("rope_type is {}, but architecture {} has default, {}", type,
                               architecture.name, fmt::join(architecture.rope_types, ", ")));
  if (type == "yarn" && !c.rope_scaling->truncate)
    refuse_gguf(c, "rope truncate is false, but engines truncate the range of yarn");
  if (type == "yarn" && (c.rope_scaling->beta_fast.value_or(kUsualBetaFast) != kUsualBetaFast ||
                         c.rope_scaling->beta_slow.value_or(kUsualBetaSlow) != kUsualBetaSlow)) {
    refuse_gguf(
        c, fmt::format("rope beta_fast is {} and beta_slow {}, but llama.cpp runs yarn with {} and {} "
                       "whatever the file says",
                       c.rope_scaling->beta_fast.value_or(kUsualBetaFast),
                       c.rope_scaling->beta_slow.value_or(kUsualBetaSlow), kUsualBetaFast, kUsualBetaSlow));
  }
}

void check_windows(const GgufArchitecture& architecture, const TransformerConfig& c) {
  if (architecture.window_period == 0) {
    if (c.sliding_window > 0 && c.sliding_window < c.max_position_embeddings)
      refuse_gguf(c, fmt::format("sliding_window is {}, which engines ignore, and the context is longer (set "
                                 "max_position_embeddings, {}, to it, or sliding_window to null)",
                                 c.sliding_window, c.max_position_embeddings));
    return;
  }
  const int64_t period = architecture.window_period;
  if (c.sliding_window < 1 || c.sliding_layers != all_but_every(period, c.num_hidden_layers))
    refuse_gguf(c, fmt::format("engines give all layers but every {}th a sliding window, this model's "
                               "layer_types and sliding_window are others",
                               period));
}

void check_tie(const GgufArchitecture& architecture, const TransformerConfig& c) {
  const GgufTie wanted = c.tie_word_embeddings ? GgufTie::kAlways : GgufTie::kNever;
  if (architecture.tie == GgufTie::kEither || architecture.tie == wanted) return;
  refuse_gguf(c, fmt::format("tie_word_embeddings is {}, but architecture {} has {} output matrix",
                             c.tie_word_embeddings, architecture.name,
                             architecture.tie == GgufTie::kNever ? "always an" : "never an"));
}

void add_rotary_keys(const TransformerConfig& c, formats::GgufKeyWriter& keys) {
  keys.integer("attention.key_length", c.head_dim)
      .integer("attention.value_length", c.head_dim)
      .number("rope.freq_base", c.rope_theta)
      .integer("rope.dimension_count", c.head_dim);
  if (!c.rope_scaling) return;
  const RopeScaling& scaling = *c.rope_scaling;
  if (scaling.original_max_position_embeddings > 0)
    keys.integer(kOriginalContext, scaling.original_max_position_embeddings);
  if (scaling.rope_type == "llama3") return;  // the rest is in the tensor rope_freqs.weight
  keys.text("rope.scaling.type", scaling.rope_type).number("rope.scaling.factor", scaling.factor);
  if (scaling.rope_type != "yarn") return;
  const double attention = yarn_attention_factor(scaling) / usual_attention_factor(scaling.factor);
  if (attention != 1) keys.number("rope.scaling.attn_factor", attention);
}

}  // namespace

TransformerConfig read_gguf_config(const formats::GgufFile& file) {
  const formats::GgufMetadata& metadata = file.metadata();
  const Family& family = family_of(metadata);
  const GgufArchitecture& architecture = *family.gguf;
  const GgufKeys keys(metadata, architecture.name);
  TransformerConfig c = family.defaults;
  c.model_type = family.name;
  c.vocab_size = read_vocab_size(file);
  read_sizes(keys, c);
  c.hidden_act = architecture.hidden_act;
  c.rms_norm_eps = keys.positive(architecture.epsilon_key);
  c.tie_word_embeddings = architecture.tie == GgufTie::kAlways || file.find("output.weight") == nullptr;
  if (architecture.has_biases) {
    c.attention_bias = c.attention_bias || file.find("blk.0.attn_q.bias") != nullptr;
    c.mlp_bias = c.mlp_bias || file.find("blk.0.ffn_up.bias") != nullptr;
  }
  if (architecture.has_rotary) read_gguf_rotary(file, keys, c);
  read_windows(keys, architecture.window_period, c);
  if (architecture.read_keys) architecture.read_keys(keys, c);
  refuse_unread_window(keys, c);
  if (std::ssize(file.tensors()) < c.num_hidden_layers)  // before a model of so many layers is described
    fail_in(Kind::kMissing, metadata.path(), "has {} tensors, which is too few for {} layers",
            file.tensors().size(), c.num_hidden_layers);
  read_token_ids(metadata, c);
  c.validate(metadata.path().string());
  return c;
}

void check_gguf_export(const TransformerConfig& c) {
  const Family& family = find_family(c.model_type);
  if (!family.gguf) refuse_gguf(c, "no engine's files of this family are known");
  const GgufArchitecture& architecture = *family.gguf;
  if (activation_of(c.hidden_act) != activation_of(architecture.hidden_act))
    refuse_gguf(c, fmt::format("hidden_act is {}, but engines compute architecture {} with {}", c.hidden_act,
                               architecture.name, architecture.hidden_act));
  if (!architecture.has_biases && (c.attention_bias || c.mlp_bias))
    refuse_gguf(c,
                fmt::format("attention_bias is true, but architecture {} has no biases", architecture.name));
  if (architecture.heads_fill_width && c.num_attention_heads * c.head_dim != c.hidden_size)
    refuse_gguf(c, fmt::format("{} heads of {} are not hidden_size, {}, as architecture {} has it",
                               c.num_attention_heads, c.head_dim, c.hidden_size, architecture.name));
  check_rotary(architecture, c);
  check_windows(architecture, c);
  check_tie(architecture, c);
  if (architecture.check) architecture.check(c);
}

void add_gguf_keys(formats::GgufPairs& pairs, const TransformerConfig& c) {
  const GgufArchitecture& architecture = find_family(c.model_type).gguf.value();
  pairs.text("general.architecture", architecture.name);
  formats::GgufKeyWriter keys(pairs, architecture.name);
  keys.integer("context_length", c.max_position_embeddings)
      .integer("embedding_length", c.hidden_size)
      .integer("block_count", c.num_hidden_layers)
      .integer("feed_forward_length", c.intermediate_size)
      .integer("attention.head_count", c.num_attention_heads)
      .integer("attention.head_count_kv", c.num_key_value_heads)
      .number(architecture.epsilon_key, c.rms_norm_eps)
      .integer("vocab_size", c.vocab_size);
  if (architecture.has_rotary) add_rotary_keys(c, keys);
  if (architecture.window_period > 0) keys.integer(kWindow, c.sliding_window);
  if (architecture.write_keys) architecture.write_keys(c, keys);
}

}  // namespace phalanx::model
