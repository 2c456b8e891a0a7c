#include "formats/llama_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "format_test_util.h"
#include "formats/llama_names.h"

namespace phalanx::formats {
namespace {

using core::DType;
using nlohmann::json;
using Kind = FormatErrorKind;

TEST(LlamaNames, GoBothWays) {
  const std::vector<std::pair<std::string, std::string>> names = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
      {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
      {"blk.12.attn_q.weight", "model.layers.12.self_attn.q_proj.weight"},
      {"blk.12.attn_k.bias", "model.layers.12.self_attn.k_proj.bias"},
      {"blk.3.attn_output.weight", "model.layers.3.self_attn.o_proj.weight"},
      {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
      {"blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"},
  };
  for (const auto& [gguf, hf] : names) {
    EXPECT_EQ(hf_name_of_llama(gguf), hf);
    EXPECT_EQ(gguf_name_of_llama(hf), gguf);
  }
  for (const char* wrong :
       {"", "blk.0.attn_q", "blk..attn_q.weight", "blk.01.attn_q.weight", "blk.-1.attn_q.weight",
        "blk.0.attn_qkv.weight", "blk.0.token_embd.weight", "rope_freqs.weight", "attn_q.weight",
        "blk.99999999999999999999.attn_q.weight", "blk.1.", "blk.1"})
    EXPECT_FALSE(hf_name_of_llama(wrong).has_value()) << wrong;
}

TEST(LlamaNames, RowsOfTwoHeadsOfFourAreInterleavedInGguf) {
  const std::vector<uint8_t> hf = {0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<uint8_t> gguf(8), back(8);
  rows_to_gguf(std::as_bytes(std::span(hf)), 2, 4, std::as_writable_bytes(std::span(gguf)));
  EXPECT_EQ(gguf, (std::vector<uint8_t>{0, 2, 1, 3, 4, 6, 5, 7}));
  rows_to_hf(std::as_bytes(std::span(gguf)), 2, 4, std::as_writable_bytes(std::span(back)));
  EXPECT_EQ(back, hf);
  EXPECT_EQ(rows_of_llama("blk.1.attn_q.weight"), LlamaRows::kQueryHeads);
  EXPECT_EQ(rows_of_llama("blk.1.attn_k.bias"), LlamaRows::kKeyHeads);
  EXPECT_EQ(rows_of_llama("blk.1.attn_v.weight"), LlamaRows::kAsTheyAre);
  EXPECT_THROW(rows_to_hf(std::as_bytes(std::span(gguf)), 1, 3, std::as_writable_bytes(std::span(back))),
               core::Error);
}

TEST(LlamaNames, RopeDivisorsOfLlama3FollowTheFormulaAndAreRecognised) {
  const Llama3Rope rope{8, 1, 4, 8192};
  const std::vector<float> divisors = llama3_rope_divisors(rope, 128, 500000);
  ASSERT_EQ(divisors.size(), 64u);
  EXPECT_EQ(divisors.front(), 1.0f);
  EXPECT_EQ(divisors.back(), 8.0f);
  EXPECT_TRUE(std::ranges::is_sorted(divisors));
  // Index 30: theta^(-60/128), wavelength 2949.4 between 8192/4 and 8192: s = (8192/w - 1)/3.
  const double wavelength = 2 * M_PI * std::pow(500000.0, 60.0 / 128), s = (8192 / wavelength - 1) / 3;
  EXPECT_NEAR(divisors[30], 1 / ((1 - s) / 8 + s), 1e-6);
  const auto inferred = infer_llama3_rope(divisors, 500000);
  ASSERT_TRUE(inferred.has_value());
  EXPECT_EQ(inferred->factor, 8);
  EXPECT_EQ(inferred->original_max_position_embeddings, 8192);
  EXPECT_FALSE(infer_llama3_rope(divisors, 10000).has_value());
}

json small_config() {
  return {{"vocab_size", 5},
          {"hidden_size", 8},
          {"intermediate_size", 12},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"head_dim", 4},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 100000.0},
          {"max_position_embeddings", 64}};
}

std::vector<TensorSpec> small_tensors() {
  return {{"token_embd.weight", DType::kF32, {5, 8}},        {"output_norm.weight", DType::kF32, {8}},
          {"blk.0.attn_norm.weight", DType::kF32, {8}},      {"blk.0.attn_q.weight", DType::kF32, {8, 8}},
          {"blk.0.attn_k.weight", DType::kF32, {4, 8}},      {"blk.0.attn_v.weight", DType::kF32, {4, 8}},
          {"blk.0.attn_output.weight", DType::kF32, {8, 8}}, {"blk.0.ffn_norm.weight", DType::kF32, {8}},
          {"blk.0.ffn_gate.weight", DType::kF32, {12, 8}},   {"blk.0.ffn_up.weight", DType::kF32, {12, 8}},
          {"blk.0.ffn_down.weight", DType::kF32, {8, 12}}};
}

void write_small(const std::filesystem::path& path, const std::vector<TensorSpec>& tensors,
                 const GgufPairs& pairs) {
  GgufWriter writer(path, tensors, pairs);
  for (const TensorSpec& tensor : tensors) {
    std::vector<float> values(*count_elements(tensor.shape));
    std::iota(values.begin(), values.end(), 0.0f);
    writer.write_floats(tensor.name, values);
  }
  writer.finish();
}

TEST(LlamaGguf, AnExportedConfigIsReadBackExactly) {
  const TempFolder folder;
  GgufPairs pairs;
  add_llama_metadata(pairs, HfConfig(small_config(), "config.json"));
  write_small(folder / "x.gguf", small_tensors(), pairs);
  const GgufFile file(folder / "x.gguf");
  const json config = hf_config_of_llama_gguf(file);
  const json expected = small_config();
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(config.at(key), value) << key;
  EXPECT_EQ(config["rope_theta"], 1e5);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_TRUE(config["rope_scaling"].is_null());
}

TEST(LlamaGguf, WeightsAppearUnderHuggingFaceNamesWithTheirRowsInOrder) {
  const TempFolder folder;
  GgufPairs pairs;
  add_llama_metadata(pairs, HfConfig(small_config(), "config.json"));
  write_small(folder / "x.gguf", small_tensors(), pairs);
  const GgufFile file(folder / "x.gguf");
  const LlamaGgufWeights weights(file);
  EXPECT_EQ(weights.tensors().size(), small_tensors().size());
  const auto q = values_of<float>(weights, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(q[8 * 1], 8.0f * 2);  // row 1 of the first head is GGUF's row 2
  EXPECT_EQ(q[8 * 2], 8.0f * 1);
  EXPECT_EQ(q[8 * 5], 8.0f * 6);
  EXPECT_EQ(values_of<float>(weights, "model.layers.0.self_attn.k_proj.weight")[8], 16.0f);
  EXPECT_EQ(values_of<float>(weights, "model.layers.0.self_attn.v_proj.weight")[8], 8.0f);
}

TEST(LlamaGguf, RopeFreqsBecomeLlama3Scaling) {
  const TempFolder folder;
  GgufPairs pairs;
  json config = small_config();
  config["head_dim"] = 64;
  std::vector<TensorSpec> tensors = {{"token_embd.weight", DType::kF32, {5, 8}},
                                     {"rope_freqs.weight", DType::kF32, {32}}};
  add_llama_metadata(pairs, HfConfig(config, "config.json"));
  GgufWriter writer(folder / "x.gguf", tensors, pairs);
  writer.write_floats("token_embd.weight", std::vector<float>(40));
  writer.write_floats("rope_freqs.weight", llama3_rope_divisors({32, 1, 4, 8192}, 64, 1e5));
  writer.finish();
  const GgufFile file(folder / "x.gguf");
  const json scaling = hf_config_of_llama_gguf(file)["rope_scaling"];
  EXPECT_EQ(scaling["rope_type"], "llama3");
  EXPECT_EQ(scaling["factor"], 32.0);
  EXPECT_EQ(LlamaGgufWeights(file).tensors().size(), 1u);
}

TEST(LlamaGguf, ImpossibleHyperparametersAreTypedErrors) {
  struct Case {
    std::string key;
    Kind kind;
    std::function<void(GgufPairs&)> set;
  };
  const auto u32 = [](std::string key, uint32_t value, Kind kind = Kind::kRange) {
    return Case{key, kind, [=](GgufPairs& pairs) { pairs.u32(key, value); }};
  };
  const std::vector<Case> cases = {
      u32("llama.block_count", 0),
      u32("llama.block_count", 513),
      u32("llama.block_count", 1u << 31),
      u32("llama.attention.head_count", 0),
      u32("llama.attention.head_count_kv", 3),
      u32("llama.attention.head_count_kv", 0),
      u32("llama.embedding_length", 0),
      u32("llama.context_length", 0),
      u32("llama.feed_forward_length", 0),
      u32("llama.attention.key_length", 5, Kind::kUnsupported),
      u32("llama.rope.dimension_count", 2, Kind::kUnsupported),
      u32("llama.expert_count", 8, Kind::kUnsupported),
      u32("tokenizer.ggml.bos_token_id", 5),
      {"general.architecture", Kind::kUnsupported,
       [](GgufPairs& pairs) { pairs.text("general.architecture", "mamba"); }},
      {"llama.attention.layer_norm_rms_epsilon", Kind::kRange,
       [](GgufPairs& pairs) { pairs.f32("llama.attention.layer_norm_rms_epsilon", std::nanf("")); }},
      {"llama.rope.freq_base", Kind::kRange, [](GgufPairs& pairs) { pairs.f32("llama.rope.freq_base", 0); }},
      {"llama.rope.scaling.type", Kind::kUnsupported,
       [](GgufPairs& pairs) { pairs.text("llama.rope.scaling.type", "strange"); }},
      {"tokenizer.ggml.tokens", Kind::kRange,
       [](GgufPairs& pairs) { pairs.texts("tokenizer.ggml.tokens", std::vector<std::string>{"a"}); }},
      {"tokenizer.ggml.tokens", Kind::kType,
       [](GgufPairs& pairs) { pairs.i32s("tokenizer.ggml.tokens", std::vector<int32_t>{1}); }},
  };
  const TempFolder folder;
  GgufPairs good;
  add_llama_metadata(good, HfConfig(small_config(), "config.json"));
  write_small(folder / "good.gguf", small_tensors(), good);
  const GgufFile original(folder / "good.gguf");
  for (const Case& change : cases) {
    GgufPairs pairs;
    for (const auto& [key, value] : original.metadata().values())
      if (key != change.key) pairs.copy(key, value);
    change.set(pairs);
    write_small(folder / "x.gguf", small_tensors(), pairs);
    expect_format_error(
        change.kind,
        [&] {
          const GgufFile file(folder / "x.gguf");
          hf_config_of_llama_gguf(file);
        },
        change.key);
  }
}

TEST(LlamaGguf, UnknownTensorsAndWrongRowsAreErrors) {
  const TempFolder folder;
  GgufPairs pairs;
  add_llama_metadata(pairs, HfConfig(small_config(), "config.json"));
  std::vector<TensorSpec> tensors = small_tensors();
  tensors.push_back({"blk.0.strange.weight", DType::kF32, {8}});
  write_small(folder / "x.gguf", tensors, pairs);
  const GgufFile file(folder / "x.gguf");
  expect_format_error(
      Kind::kName, [&] { LlamaGgufWeights weights(file); }, "unknown tensor");
  tensors = small_tensors();
  tensors[3].shape = {4, 8};
  write_small(folder / "y.gguf", tensors, pairs);
  const GgufFile other(folder / "y.gguf");
  expect_format_error(
      Kind::kShape, [&] { LlamaGgufWeights weights(other); }, "rows of q");
}

/// The real model, which scripts/fetch_example.sh puts there.
TEST(LlamaGguf, ReadsSmolLm2) {
  const std::string path = PHALANX_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there; run scripts/fetch_example.sh";
  const GgufFile file(path);
  const json config = hf_config_of_llama_gguf(file);
  EXPECT_EQ(config["num_hidden_layers"], 30);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  const LlamaGgufWeights weights(file);
  EXPECT_EQ(weights.tensors().size(), 272u);
  std::vector<float> values;
  double sum = 0;
  for (const TensorInfo& tensor : weights.tensors()) {
    values.resize(*count_elements(tensor.shape));
    to_float(tensor.dtype, weights.bytes(tensor).data(), int64_t(values.size()), values.data());
    sum += values[values.size() / 2];
  }
  EXPECT_TRUE(std::isfinite(sum));
  weights.check_unchanged();
}

}  // namespace
}  // namespace phalanx::formats
