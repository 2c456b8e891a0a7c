// GGUF files of every family, out and in.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/format_error.h"
#include "formats/gguf.h"
#include "model/gguf_config.h"
#include "model/gguf_weights.h"
#include "model/golden_case.h"
#include "model/parameter.h"
#include "model/rotary.h"

namespace phalanx::model {
namespace {

namespace fs = std::filesystem;
using core::DType;

/// The config of a golden model, changed so that engines run it as it is.
TransformerConfig exportable(const std::string& name) {
  const bool is_first = name == "untied" || name == "tied_llama3" || name == "mixtral";
  TransformerConfig c = ModelFiles::open(golden_path(is_first ? name : "families/" + name)).config();
  if (name == "gemma2" || name == "gemma3_text") {
    c.query_pre_attn_scalar = static_cast<double>(c.head_dim);
    c.tie_word_embeddings = true;
    c.num_hidden_layers = name == "gemma2" ? 3 : 7;
    c.sliding_layers.clear();
    for (int64_t i = 0; i < c.num_hidden_layers; ++i)
      c.sliding_layers.push_back((i + 1) % (name == "gemma2" ? 2 : 6) != 0);
  }
  if (name == "mistral" || name == "phi3" || name == "qwen2_window") c.sliding_window = 0;
  c.sliding_layers.resize(c.sliding_window > 0 ? c.sliding_layers.size() : 0);
  if (name == "llama_yarn_all") {
    c.rope_scaling->truncate = true;
    c.rope_scaling->beta_fast = c.rope_scaling->beta_slow = {};
  }
  if (name == "qwen3_moe") c.mlp_only_layers.clear();
  c.norm_topk_prob = true;
  return c;
}

std::shared_ptr<CausalLm> random_model(const TransformerConfig& config) {
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  auto model = build(config);
  allocate(*model, at::kFloat);
  for (const auto& [name, parameter] : all_parameters(*model)) parameter.normal_(0, 0.25);
  return model;
}

std::string gguf_message(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    return error.what();
  }
  return "no error";
}

class GgufModels : public testing::Test {
 protected:
  GgufModels() { fs::create_directories(folder_); }
  ~GgufModels() override { fs::remove_all(folder_); }

  fs::path save(const CausalLm& model, const char* type = "f32", const char* name = "x.gguf") const {
    save_gguf(folder_ / name, model, weights_of(model), formats::gguf_mix(type), {});
    return folder_ / name;
  }
  /// A copy of x.gguf in which one key has another value.
  fs::path with_key(const std::string& key, const std::function<void(formats::GgufPairs&)>& set) const {
    const formats::GgufFile file(folder_ / "x.gguf");
    formats::GgufPairs pairs;
    for (const auto& [name, value] : file.metadata().values())
      if (name != key) pairs.copy(name, value);
    set(pairs);
    return write_copy(file, pairs);
  }
  fs::path write_copy(const formats::GgufFile& file, const formats::GgufPairs& pairs,
                      const std::vector<formats::TensorSpec>& more = {}) const {
    std::vector<formats::TensorSpec> specs = more;
    for (const formats::TensorInfo& tensor : file.tensors())
      specs.push_back({tensor.name, tensor.dtype, tensor.shape});
    formats::GgufWriter writer(folder_ / "changed.gguf", specs, pairs);
    for (const formats::TensorSpec& spec : more)
      writer.write_floats(spec.name, std::vector<float>(formats::count_elements(spec.shape).value()));
    for (const formats::TensorInfo& tensor : file.tensors()) writer.write(tensor.name, file.bytes(tensor));
    writer.finish();
    return folder_ / "changed.gguf";
  }

  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_gguf_models_" + std::to_string(getpid()));
};

/// What GGUF has no place for, or keeps elsewhere (token ids are the tokenizer's).
TransformerConfig comparable(TransformerConfig c) {
  c.initializer_range = 0;
  c.output_router_logits = false;
  c.router_aux_loss_coef = c.router_z_loss_coef = 0;
  c.bos_token_id = c.pad_token_id = {};
  c.eos_token_ids = {};
  if (c.model_type == "mistral") c.model_type = "llama";
  if (c.query_pre_attn_scalar == 0) c.query_pre_attn_scalar = static_cast<double>(c.head_dim);
  return c;
}

class GgufFamilies : public GgufModels, public testing::WithParamInterface<const char*> {};

TEST_P(GgufFamilies, AreReadBackAsTheyWereWritten) {
  const auto model = random_model(exportable(GetParam()));
  const ModelFiles files = ModelFiles::open(save(*model));
  TransformerConfig expected = comparable(model->config()), read = comparable(files.config());
  if (expected.rope_scaling && expected.rope_scaling->rope_type == "yarn") {
    const double factor = yarn_attention_factor(*expected.rope_scaling);
    EXPECT_NEAR(yarn_attention_factor(*read.rope_scaling), factor, 1e-6);
    for (TransformerConfig* c : {&expected, &read})
      c->rope_scaling->attention_factor = c->rope_scaling->mscale = c->rope_scaling->mscale_all_dim = {};
  }
  EXPECT_EQ(read.rope_scaling, expected.rope_scaling);
  EXPECT_TRUE(read == expected) << GetParam();
  const auto loaded = load_model(files, at::kFloat);
  const WeightRows weights = gguf_weights(*model, rows_of(weights_of(*model)));
  const NamedTensors ours = all_parameters(*model), theirs = all_parameters(*loaded);
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i].first, theirs[i].first);
    EXPECT_TRUE(at::equal(weights(ours[i].first, 0, ours[i].second.size(0)), theirs[i].second))
        << ours[i].first;
  }
}

TEST_P(GgufFamilies, KeepTheirNamesAndNormsInEveryType) {
  const auto model = random_model(exportable(GetParam()));
  const auto types = gguf_types(*model, formats::gguf_mix("f16"), false);
  const ModelFiles files = ModelFiles::open(save(*model, "f16"));
  check_model(files);
  for (const auto& [name, dtype] : types) {
    EXPECT_EQ(files.weights().find(name)->dtype, dtype) << name;
    const bool is_table = name.find("embed_positions") != std::string::npos;
    const bool is_router = name.ends_with(".gate.weight");
    const bool is_vector = model->parameter(name).dim() == 1;
    EXPECT_EQ(dtype, is_vector || is_table || is_router ? DType::kF32 : DType::kF16) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufFamilies,
                         testing::Values("untied", "tied_llama3", "llama_linear", "llama_yarn",
                                         "llama_yarn_all", "mistral", "mixtral", "qwen2", "qwen2_window",
                                         "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "phi3", "olmo2",
                                         "gpt2"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(GgufModels, HoldMatricesWhereEnginesLookForThem) {
  const auto shape_of = [&](const char* name, const char* tensor) {
    const formats::GgufFile file(save(*random_model(exportable(name))));
    const formats::TensorInfo* info = file.find(tensor);
    return info == nullptr ? "none" : formats::shape_text(info->shape);
  };
  EXPECT_EQ(shape_of("phi3", "blk.1.attn_qkv.weight"), "[32, 16]");
  EXPECT_EQ(shape_of("phi3", "blk.1.ffn_up.weight"), "[48, 16]");
  EXPECT_EQ(shape_of("gpt2", "blk.1.attn_qkv.bias"), "[48]");
  EXPECT_EQ(shape_of("gpt2", "blk.0.ffn_up.weight"), "[64, 16]");
  EXPECT_EQ(shape_of("gpt2", "position_embd.weight"), "[32, 16]");
  EXPECT_EQ(shape_of("qwen3_moe", "blk.1.ffn_down_exps.weight"), "[4, 16, 12]");
  EXPECT_EQ(shape_of("qwen3_moe", "blk.1.ffn_gate_inp.weight"), "[4, 16]");
  EXPECT_EQ(shape_of("olmo2", "blk.1.attn_k_norm.weight"), "[8]");
  EXPECT_EQ(shape_of("gemma2", "blk.1.post_ffw_norm.weight"), "[16]");
  EXPECT_EQ(shape_of("gemma2", "output.weight"), "none");
}

TEST_F(GgufModels, HoldRowsAndNormsAsTheArchitectureHasThem) {
  const auto row = [&](const char* name, const std::string& tensor, int64_t index,
                       const std::string& parameter) {
    const auto model = random_model(exportable(name));
    const formats::GgufFile file(save(*model));
    const formats::TensorInfo* info = file.find(tensor);
    const at::Tensor stored =
        at::from_blob(const_cast<std::byte*>(file.bytes(*info).data()), info->shape, at::kFloat);
    const at::Tensor wanted = stored[index];
    const at::Tensor all = model->parameter(parameter);
    for (int64_t i = 0; i < all.size(0); ++i)
      if (at::equal(all[i], wanted)) return i;
    return int64_t{-1};
  };
  const std::string q = "blk.1.attn_q.weight", ours = "model.layers.1.self_attn.q_proj.weight";
  const int64_t d = exportable("untied").head_dim;
  EXPECT_EQ(row("untied", q, 1, ours), d / 2);
  EXPECT_EQ(row("mixtral", q, 2, ours), 1);
  EXPECT_EQ(row("qwen2", q, 1, ours), 1);
  EXPECT_EQ(row("olmo2", q, 1, ours), 1);

  const auto gemma = random_model(exportable("gemma3_text"));
  const formats::GgufFile file(save(*gemma));
  for (const char* name : {"blk.0.attn_q_norm.weight", "output_norm.weight"}) {
    const formats::TensorInfo* info = file.find(name);
    float first = 0;
    std::memcpy(&first, file.bytes(*info).data(), sizeof first);
    const std::string parameter =
        name[0] == 'o' ? "model.norm.weight" : "model.layers.0.self_attn.q_norm.weight";
    EXPECT_EQ(first, gemma->parameter(parameter)[0].item<float>() + 1.0f) << name;
  }
}

TEST_F(GgufModels, QuantiseExpertsOneByOneAndReadThemBack) {
  TransformerConfig c = exportable("mixtral");
  c.hidden_size = c.intermediate_size = 256;
  const auto model = random_model(c);
  const ModelFiles files = ModelFiles::open(save(*model, "q4_k_m"));
  const std::string expert = "model.layers.1.block_sparse_moe.experts.2.w3.weight";
  EXPECT_EQ(files.weights().find(expert)->dtype, DType::kQ4_K);
  const auto loaded = load_model(files, at::kFloat);
  EXPECT_LT(max_difference(loaded->parameter(expert), model->parameter(expert)), 0.15);
  EXPECT_GT(max_difference(loaded->parameter(expert), model->parameter(expert)), 0);
}

TEST_F(GgufModels, ThatEnginesWouldRunAsOthersAreRefused) {
  struct Case {
    const char* name;
    std::function<void(TransformerConfig&)> change;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"mistral", [](auto& c) { c.sliding_window = 3; }, "sliding_window is 3, which engines ignore"},
      {"qwen2", [](auto& c) { c.sliding_window = 3; }, "sliding_window is 3, which engines ignore"},
      {"phi3", [](auto& c) { c.sliding_window = 3; }, "sliding_window is 3, which engines ignore"},
      {"qwen3", [](auto& c) { c.attention_bias = true; }, "architecture qwen3 has no biases"},
      {"qwen3_moe", [](auto& c) { c.norm_topk_prob = false; }, "norm_topk_prob is false"},
      {"qwen3_moe", [](auto& c) { c.mlp_only_layers = {1}; }, "layer 1 has no experts"},
      {"gemma2", [](auto& c) { c.query_pre_attn_scalar = 5; },
       "query_pre_attn_scalar is 5, but engines compute with 8"},
      {"gemma2", [](auto& c) { c.final_logit_softcapping = 0; }, "engines always cap"},
      {"gemma2", [](auto& c) { c.tie_word_embeddings = false; }, "tie_word_embeddings is false"},
      {"gemma3_text", [](auto& c) { c.final_logit_softcapping = 30; }, "engines do not cap"},
      {"gemma3_text", [](auto& c) { c.sliding_layers[5] = true; }, "all layers but every 6th"},
      {"olmo2", [](auto& c) { c.tie_word_embeddings = true; }, "tie_word_embeddings is true"},
      {"olmo2", [](auto& c) { c.head_dim = 8; }, "4 heads of 8 are not hidden_size, 16"},
      {"gpt2", [](auto& c) { c.hidden_act = "gelu"; },
       "hidden_act is gelu, but engines compute architecture gpt2"},
      {"llama_yarn", [](auto& c) { c.rope_scaling->truncate = false; }, "engines truncate"},
      {"llama_yarn", [](auto& c) { c.rope_scaling->beta_fast = 16.0; }, "llama.cpp runs yarn with 32 and 1"},
      {"llama_dynamic", [](auto&) {},
       "rope_type is dynamic, but architecture llama has default, linear, yarn, llama3"},
  };
  for (const Case& one : cases) {
    TransformerConfig c = exportable(one.name);
    one.change(c);
    const std::string message = gguf_message([&] { check_gguf_export(c); });
    EXPECT_NE(message.find(one.expected), std::string::npos) << one.name << ": " << message;
    EXPECT_NE(message.find("export it to hf instead"), std::string::npos) << message;
  }
}

TEST_F(GgufModels, ImpossibleKeysAreErrorsThatNameThem) {
  save(*random_model(exportable("untied")));
  struct Case {
    std::string key;
    std::function<void(formats::GgufPairs&)> set;
    const char* expected;
  };
  const auto u32 = [](std::string key, uint32_t value, const char* expected) {
    return Case{key, [=](formats::GgufPairs& pairs) { pairs.u32(key, value); }, expected};
  };
  const auto text = [](std::string key, std::string value, const char* expected) {
    return Case{key, [=](formats::GgufPairs& pairs) { pairs.text(key, value); }, expected};
  };
  const std::vector<Case> cases = {
      u32("llama.block_count", 0, "llama.block_count is 0, but must be from 1 to 512"),
      u32("llama.block_count", 513, "llama.block_count is 513"),
      u32("llama.block_count", 500, "which is too few for 500 layers"),
      u32("llama.block_count", 1U << 31, "llama.block_count is 2147483648"),
      u32("llama.attention.head_count", 0, "llama.attention.head_count is 0"),
      u32("llama.attention.head_count_kv", 3, "is not divisible by llama.attention.head_count_kv 3"),
      u32("llama.attention.head_count_kv", 0, "llama.attention.head_count_kv is 0"),
      u32("llama.attention.head_count_kv", 64, "llama.attention.head_count_kv is 64"),
      u32("llama.embedding_length", 0, "llama.embedding_length is 0"),
      u32("llama.context_length", 0, "llama.context_length is 0"),
      u32("llama.feed_forward_length", 0, "llama.feed_forward_length is 0"),
      u32("llama.attention.key_length", 5, "has heads of 5 keys"),
      u32("llama.rope.dimension_count", 2, "2 rotated dimensions"),
      u32("llama.rope.dimension_count", 3, "3 rotated dimensions"),
      u32("llama.expert_count", 8, "llama.expert_used_count"),
      u32("llama.expert_count", 5000, "llama.expert_count is 5000"),
      u32("llama.attention.sliding_window", 4, "llama.attention.sliding_window is 4, which is not read"),
      u32("tokenizer.ggml.bos_token_id", 5000, "tokenizer.ggml.bos_token_id is 5000"),
      text("general.architecture", "mamba",
           "general.architecture is mamba; read are gemma2, gemma3, gpt2, llama, olmo2, "
           "phi3, qwen2, qwen3, qwen3moe"),
      text("general.type", "adapter", "is a GGUF file of type adapter, not a model"),
      text("llama.rope.scaling.type", "strange",
           "llama.rope.scaling.type is strange; none, linear and yarn are read"),
      {"llama.rope.freq_base", [](auto& pairs) { pairs.f32("llama.rope.freq_base", 0); },
       "llama.rope.freq_base is 0"},
      {"llama.attention.layer_norm_rms_epsilon",
       [](auto& pairs) { pairs.f32("llama.attention.layer_norm_rms_epsilon", std::nanf("")); },
       "must be above 0"},
      {"llama.attention.layer_norm_rms_epsilon", [](auto&) {}, "llama.attention.layer_norm_rms_epsilon"},
      {"tokenizer.ggml.tokens",
       [](auto& pairs) { pairs.texts("tokenizer.ggml.tokens", std::vector<std::string>{"a"}); },
       "has 1 tokens, but token_embd.weight has"},
  };
  for (const Case& one : cases) {
    const std::string message = gguf_message([&] { ModelFiles::open(with_key(one.key, one.set)); });
    EXPECT_NE(message.find(one.expected), std::string::npos) << one.key << ": " << message;
    EXPECT_NE(message.find("changed.gguf"), std::string::npos) << message;
  }
}

TEST_F(GgufModels, WithoutAKeyLengthHeadsMustDivideTheWidth) {
  save(*random_model(exportable("untied")));
  fs::rename(with_key("llama.attention.key_length", [](auto&) {}), folder_ / "x.gguf");
  const std::string message = gguf_message([&] {
    ModelFiles::open(with_key("llama.attention.head_count",
                              [](auto& pairs) { pairs.u32("llama.attention.head_count", 3); }));
  });
  EXPECT_NE(message.find("llama.embedding_length 16 is not divisible by llama.attention.head_count 3"),
            std::string::npos)
      << message;
}

TEST_F(GgufModels, AnEncoderIsNoCausalModel) {
  save(*random_model(exportable("untied")));
  const std::string message = gguf_message([&] {
    ModelFiles::open(with_key("general.architecture", [](auto& pairs) {
      pairs.text("general.architecture", "bert").boolean("bert.attention.causal", false);
    }));
  });
  EXPECT_NE(message.find("is not a causal language model but an encoder (general.architecture is bert)"),
            std::string::npos)
      << message;
}

TEST_F(GgufModels, TensorsOfNoOneAreErrors) {
  save(*random_model(exportable("untied")));
  const formats::GgufFile file(folder_ / "x.gguf");
  formats::GgufPairs pairs;
  for (const auto& [name, value] : file.metadata().values()) pairs.copy(name, value);
  const fs::path changed = write_copy(file, pairs, {{"blk.0.strange.weight", DType::kF32, {8}}});
  EXPECT_NE(gguf_message([&] {
              check_model(ModelFiles::open(changed));
            }).find("blk.0.strange.weight is not part of this model"),
            std::string::npos);
}

TEST(GgufFolders, AFolderOfAnEncoderIsNoCausalModel) {
  const fs::path folder = fs::temp_directory_path() / ("phalanx_encoder_" + std::to_string(getpid()));
  fs::create_directories(folder);
  std::ofstream(folder / "config.json")
      << R"({"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384})";
  const std::string message = gguf_message([&] { ModelFiles::open(folder); });
  fs::remove_all(folder);
  EXPECT_NE(message.find("BertModel (model_type bert) is not a causal language model; only those are read"),
            std::string::npos)
      << message;
}

/// The real model, which scripts/fetch_example.sh puts there.
TEST(GgufReal, SmolLm2IsRead) {
  const std::string path = PHALANX_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not there; run scripts/fetch_example.sh";
  const ModelFiles files = ModelFiles::open(path);
  EXPECT_EQ(files.config().num_hidden_layers, 30);
  EXPECT_EQ(files.config().rms_norm_eps, 1e-5);
  EXPECT_EQ(files.weights().tensors().size(), 272u);
  check_model(files);
}

}  // namespace
}  // namespace phalanx::model
