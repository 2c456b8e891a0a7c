#include "formats/llama_gguf.h"

#include <cmath>

#include "formats/format_error.h"
#include "formats/llama_names.h"

namespace phalanx::formats {
namespace {

using nlohmann::json;
using Kind = FormatErrorKind;

constexpr std::string_view kRopeFreqs = "rope_freqs.weight";
constexpr std::string_view kOriginalContext = "llama.rope.scaling.original_context_length";
constexpr int64_t kMaxLayers = 512, kMaxSize = 1 << 24, kMaxContext = int64_t{1} << 31;

int64_t bounded(const GgufMetadata& metadata, std::string_view key, int64_t min, int64_t max) {
  const int64_t value = metadata.integer(key);
  if (value < min || value > max)
    fail_at(Kind::kRange, metadata.path(), metadata.find(key)->offset_bytes,
            "{} is {}, but must be from {} to {}", key, value, min, max);
  return value;
}

int64_t bounded_or(const GgufMetadata& metadata, std::string_view key, int64_t fallback, int64_t min,
                   int64_t max) {
  return metadata.has(key) ? bounded(metadata, key, min, max) : fallback;
}

/// Metadata numbers are f32. 1e-5f becomes the double 1e-5, and not 9.99999974737875e-06.
double positive_number(const GgufMetadata& metadata, std::string_view key, double fallback) {
  const std::optional<double> stored = metadata.find_number(key);
  if (!stored) return fallback;
  if (!(*stored > 0) || !std::isfinite(*stored))
    fail_at(Kind::kRange, metadata.path(), metadata.find(key)->offset_bytes, "{} is {}, but must be above 0",
            key, *stored);
  return double(float(*stored)) == *stored ? std::stod(fmt::format("{}", float(*stored))) : *stored;
}

struct Heads {
  int64_t hidden_size, num_heads, num_key_value_heads, head_dim;
};

void require_llama(const GgufMetadata& metadata) {
  const std::string_view architecture = metadata.text("general.architecture");
  if (architecture != "llama")
    fail_in(Kind::kUnsupported, metadata.path(), "general.architecture is {}; llama is read",
            core::printable(architecture));
  if (metadata.find_integer("llama.expert_count").value_or(0) != 0)
    fail_in(Kind::kUnsupported, metadata.path(),
            "is a mixture of experts (llama.expert_count), which is not read yet");
}

Heads read_heads(const GgufMetadata& metadata) {
  require_llama(metadata);
  Heads heads{};
  heads.hidden_size = bounded(metadata, "llama.embedding_length", 1, kMaxSize);
  heads.num_heads = bounded(metadata, "llama.attention.head_count", 1, kMaxSize);
  heads.num_key_value_heads =
      bounded_or(metadata, "llama.attention.head_count_kv", heads.num_heads, 1, heads.num_heads);
  heads.head_dim =
      bounded_or(metadata, "llama.attention.key_length", heads.hidden_size / heads.num_heads, 2, kMaxSize);
  const int64_t value_dim = bounded_or(metadata, "llama.attention.value_length", heads.head_dim, 2, kMaxSize);
  const int64_t rotated = bounded_or(metadata, "llama.rope.dimension_count", heads.head_dim, 2, kMaxSize);
  if (!metadata.has("llama.attention.key_length") && heads.hidden_size % heads.num_heads != 0)
    fail_in(Kind::kRange, metadata.path(),
            "llama.embedding_length {} is not divisible by llama.attention.head_count {}", heads.hidden_size,
            heads.num_heads);
  if (heads.num_heads % heads.num_key_value_heads != 0)
    fail_in(Kind::kRange, metadata.path(),
            "llama.attention.head_count {} is not divisible by llama.attention.head_count_kv {}",
            heads.num_heads, heads.num_key_value_heads);
  if (heads.head_dim % 2 != 0 || value_dim != heads.head_dim || rotated != heads.head_dim)
    fail_in(
        Kind::kUnsupported, metadata.path(),
        "has heads of {} keys, {} values and {} rotated dimensions; one even number for all three is read",
        heads.head_dim, value_dim, rotated);
  return heads;
}

json llama3_scaling(const GgufFile& file, const TensorInfo& tensor, double rope_theta) {
  std::vector<float> divisors(size_t(count_elements(tensor.shape).value()));
  to_float(tensor.dtype, file.bytes(tensor).data(), int64_t(divisors.size()), divisors.data());
  const int64_t context = file.metadata().find_integer(kOriginalContext).value_or(8192);
  const std::optional<Llama3Rope> rope = infer_llama3_rope(divisors, rope_theta, context);
  if (!rope)
    fail_at(Kind::kUnsupported, file.metadata().path(), tensor.offset_bytes,
            "{} does not hold the rotary scaling of Llama 3, the only one that is recognised", kRopeFreqs);
  return {{"rope_type", "llama3"},
          {"factor", rope->factor},
          {"low_freq_factor", rope->low_freq_factor},
          {"high_freq_factor", rope->high_freq_factor},
          {"original_max_position_embeddings", rope->original_max_position_embeddings}};
}

json rope_scaling_of(const GgufFile& file, double rope_theta) {
  const GgufMetadata& metadata = file.metadata();
  const TensorInfo* divisors = file.find(kRopeFreqs);
  if (divisors != nullptr) return llama3_scaling(file, *divisors, rope_theta);
  const std::string_view type = metadata.find_text("llama.rope.scaling.type").value_or("none");
  if (type == "none") return nullptr;
  if (type != "linear" && type != "yarn")
    fail_in(Kind::kUnsupported, metadata.path(),
            "llama.rope.scaling.type is {}; none, linear and yarn are read", core::printable(type));
  json scaling = {{"rope_type", type}, {"factor", positive_number(metadata, "llama.rope.scaling.factor", 1)}};
  if (const auto context = metadata.find_integer(kOriginalContext))
    scaling["original_max_position_embeddings"] = *context;
  return scaling;
}

/// Rows of the embedding; the token list must agree, or ids would point to other tokens' rows.
int64_t read_vocab_size(const GgufFile& file) {
  const TensorInfo* embedding = file.find("token_embd.weight");
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

void add_token_ids(json& config, const GgufMetadata& metadata, int64_t vocab_size) {
  for (const auto& [hf, gguf] : {std::pair("bos_token_id", "tokenizer.ggml.bos_token_id"),
                                 std::pair("eos_token_id", "tokenizer.ggml.eos_token_id"),
                                 std::pair("pad_token_id", "tokenizer.ggml.padding_token_id")})
    if (metadata.has(gguf)) config[hf] = bounded(metadata, gguf, 0, vocab_size - 1);
}

}  // namespace

json hf_config_of_llama_gguf(const GgufFile& file) {
  const GgufMetadata& metadata = file.metadata();
  const Heads heads = read_heads(metadata);
  const int64_t vocab_size = read_vocab_size(file);
  metadata.number(
      "llama.attention.layer_norm_rms_epsilon");  // engines demand it, so a file without it is broken
  const double rope_theta = positive_number(metadata, "llama.rope.freq_base", 10000);
  json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"vocab_size", vocab_size},
      {"hidden_size", heads.hidden_size},
      {"intermediate_size", bounded(metadata, "llama.feed_forward_length", 1, kMaxSize)},
      {"num_hidden_layers", bounded(metadata, "llama.block_count", 1, kMaxLayers)},
      {"num_attention_heads", heads.num_heads},
      {"num_key_value_heads", heads.num_key_value_heads},
      {"head_dim", heads.head_dim},
      {"hidden_act", "silu"},
      {"max_position_embeddings", bounded(metadata, "llama.context_length", 1, kMaxContext)},
      {"rms_norm_eps", positive_number(metadata, "llama.attention.layer_norm_rms_epsilon", 1e-6)},
      {"rope_theta", rope_theta},
      {"rope_scaling", rope_scaling_of(file, rope_theta)},
      {"attention_bias", file.find("blk.0.attn_q.bias") != nullptr},
      {"mlp_bias", file.find("blk.0.ffn_up.bias") != nullptr},
      {"tie_word_embeddings", file.find("output.weight") == nullptr},
  };
  add_token_ids(config, metadata, vocab_size);
  return config;
}

LlamaGgufWeights::LlamaGgufWeights(const GgufFile& file) : file_(file) {
  const Heads heads = read_heads(file.metadata());
  num_heads_ = heads.num_heads;
  num_key_value_heads_ = heads.num_key_value_heads;
  head_dim_ = heads.head_dim;
  for (const TensorInfo& tensor : file.tensors()) {
    if (tensor.name == kRopeFreqs) continue;
    const std::optional<std::string> name = hf_name_of_llama(tensor.name);
    if (!name)
      fail_in(Kind::kName, file.metadata().path(), "tensor {} does not belong to the architecture llama",
              core::printable(tensor.name));
    const LlamaRows rows = rows_of_llama(tensor.name);
    const int64_t row_heads = rows == LlamaRows::kQueryHeads ? num_heads_ : num_key_value_heads_;
    if (rows != LlamaRows::kAsTheyAre && tensor.shape.front() != row_heads * head_dim_)
      fail_in(Kind::kShape, file.metadata().path(), "tensor {} has {} rows, but {} heads of {} need {}",
              core::printable(tensor.name), tensor.shape.front(), row_heads, head_dim_,
              row_heads * head_dim_);
    gguf_names_.emplace(*name, tensor.name);
    tensors_.push_back(tensor);
    tensors_.back().name = *name;
  }
}

std::span<const std::byte> LlamaGgufWeights::bytes(const TensorInfo& tensor) const {
  const std::string& gguf_name = gguf_names_.at(tensor.name);
  TensorInfo stored = tensor;
  stored.name = gguf_name;
  const std::span<const std::byte> rows = file_.bytes(stored);
  const LlamaRows order = rows_of_llama(gguf_name);
  // A bias of a block type would hold several rows in a block, but a bias is never quantised.
  if (order == LlamaRows::kAsTheyAre) return rows;
  const std::scoped_lock lock(mutex_);
  std::vector<std::byte>& kept = reordered_[tensor.name];
  if (kept.empty()) {
    kept.resize(rows.size());
    rows_to_hf(rows, order == LlamaRows::kQueryHeads ? num_heads_ : num_key_value_heads_, head_dim_, kept);
  }
  return kept;
}

void add_llama_metadata(GgufPairs& pairs, const HfConfig& config) {
  constexpr int64_t kMax = UINT32_MAX;
  const auto count = [&](const char* key) { return uint32_t(config.integer(key, 1, kMax)); };
  const auto count_or = [&](const char* key, uint32_t fallback) {
    return uint32_t(config.find_integer(key, 1, kMax).value_or(fallback));
  };
  const uint32_t heads = count("num_attention_heads"), hidden = count("hidden_size");
  const uint32_t head_dim = count_or("head_dim", hidden / heads);
  const RopeParameters rope = read_rope(config);
  if (rope.rope_type != "default" && rope.rope_type != "llama3" && rope.rope_type != "linear")
    core::fail(core::ExitCode::kBadConfig,
               "{}: rope_type {} cannot be exported to GGUF; default, linear and llama3 can",
               config.path().string(), rope.rope_type);
  pairs.text("general.architecture", "llama")
      .u32("llama.context_length", count("max_position_embeddings"))
      .u32("llama.embedding_length", hidden)
      .u32("llama.block_count", count("num_hidden_layers"))
      .u32("llama.feed_forward_length", count("intermediate_size"))
      .u32("llama.attention.head_count", heads)
      .u32("llama.attention.head_count_kv", count_or("num_key_value_heads", heads))
      .u32("llama.attention.key_length", head_dim)
      .u32("llama.attention.value_length", head_dim)
      .f32("llama.attention.layer_norm_rms_epsilon",
           float(config.find_number("rms_norm_eps", 0, 1).value_or(1e-6)))
      .f32("llama.rope.freq_base", float(rope.rope_theta.value_or(10000)))
      .u32("llama.rope.dimension_count", head_dim)
      .u32("llama.vocab_size", count("vocab_size"));
  if (rope.rope_type == "linear")
    pairs.text("llama.rope.scaling.type", "linear")
        .f32("llama.rope.scaling.factor", float(rope.numbers.at("factor")));
  if (rope.rope_type == "llama3")  // the rest is in the tensor rope_freqs.weight
    pairs.u32(std::string(kOriginalContext), uint32_t(rope.numbers.at("original_max_position_embeddings")));
}

}  // namespace phalanx::formats
