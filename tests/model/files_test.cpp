#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "model/config_json.h"
#include "model/golden_case.h"
#include "model/initialize.h"
#include "model/model_options.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::model {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for every test, removed at the end.
class ModelFilesTest : public testing::Test {
 protected:
  ModelFilesTest() { fs::create_directories(folder_); }
  ~ModelFilesTest() override { fs::remove_all(folder_); }
  std::string message_of(const std::function<void()>& action) const {
    try {
      action();
    } catch (const core::Error& error) {
      return error.what();
    }
    return "no error";
  }
  void expect_same_bits(const CausalLm& a, const CausalLm& b) const {
    const NamedTensors left = all_parameters(a), right = all_parameters(b);
    ASSERT_EQ(left.size(), right.size());
    for (size_t i = 0; i < left.size(); ++i) {
      EXPECT_EQ(left[i].first, right[i].first);
      EXPECT_TRUE(at::equal(left[i].second, right[i].second)) << left[i].first;
    }
  }
  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_model_test_" + std::to_string(getpid()));
};

TEST_F(ModelFilesTest, SavedHuggingFaceFoldersLoadToTheSameBits) {
  for (const char* name : {"untied", "tied_llama3"}) {
    for (const auto& [dtype, stored] : {std::pair(at::kDouble, core::DType::kF64),
                                        {at::kFloat, core::DType::kF32},
                                        {at::kBFloat16, core::DType::kBF16}}) {
      const auto model = load_model(golden_path(name), dtype);
      save_hf(folder_ / name, *model, weights_of(*model), stored, /*max_shard_bytes=*/20000);
      const ModelFiles files = ModelFiles::open(folder_ / name);
      EXPECT_EQ(files.config(), model->config());
      EXPECT_EQ(files.dtype(), stored);
      EXPECT_TRUE(files.notices().empty());
      expect_same_bits(*model, *load_model(files, dtype));
      fs::remove_all(folder_ / name);
    }
  }
}

TEST_F(ModelFilesTest, GgufFilesLoadToTheSameBits) {
  for (const char* name : {"untied", "tied_llama3"}) {
    const auto model = load_model(golden_path(name), at::kFloat);
    const fs::path file = folder_ / (std::string(name) + ".gguf");
    formats::GgufPairs pairs;
    pairs.text("general.name", "tiny");
    save_gguf(file, *model, weights_of(*model), formats::gguf_mix("f32"), pairs);
    const ModelFiles files = ModelFiles::open(file);
    EXPECT_TRUE(files.is_gguf());
    EXPECT_EQ(files.config().rope_scaling, model->config().rope_scaling);
    EXPECT_EQ(files.config().tie_word_embeddings, model->config().tie_word_embeddings);
    expect_same_bits(*model, *load_model(files, at::kFloat));
  }
}

TEST_F(ModelFilesTest, Q8GgufKeepsNormsAndStaysClose) {
  TransformerConfig config = ModelFiles::open(golden_path("untied")).config();
  config.hidden_size = 32;
  config.intermediate_size = 64;
  const auto model = new_model(config, at::kFloat, 3);
  save_gguf(folder_ / "q8.gguf", *model, weights_of(*model), formats::gguf_mix("q8_0"), {});
  const ModelFiles files = ModelFiles::open(folder_ / "q8.gguf");
  EXPECT_EQ(files.weights().find("model.norm.weight")->dtype, core::DType::kF32);
  EXPECT_EQ(files.weights().find("model.layers.0.self_attn.q_proj.weight")->dtype, core::DType::kQ8_0);
  const auto loaded = load_model(files, at::kFloat);
  for (const auto& [name, parameter] : all_parameters(*model)) {
    const double bound = parameter.abs().max().item<double>() / 127 + 1e-12;
    EXPECT_LE(max_difference(parameter, loaded->parameter(name)), bound) << name;
  }
}

TEST_F(ModelFilesTest, EverythingThatDoesNotFitIsListedAtOnce) {
  fs::copy(golden_path("untied"), folder_ / "m", fs::copy_options::recursive);
  nlohmann::json config = nlohmann::json::parse(std::ifstream(folder_ / "m" / "config.json"));
  config["num_hidden_layers"] = 1;
  config["intermediate_size"] = 25;
  config["attention_bias"] = true;
  std::ofstream(folder_ / "m" / "config.json") << config;
  const std::string message = message_of([&] { load_model(folder_ / "m", at::kFloat); });
  EXPECT_NE(message.find("model.layers.0.self_attn.q_proj.bias is missing"), std::string::npos) << message;
  EXPECT_NE(message.find(
                "model.layers.0.mlp.gate_proj.weight has the shape [24, 16], the config asks for [25, 16]"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("model.layers.1.mlp.up_proj.weight is not part of this model"), std::string::npos)
      << message;
}

TEST_F(ModelFilesTest, WeightsThatAreNotFiniteAreRefusedByName) {
  const auto model = load_model(golden_path("untied"), at::kFloat);
  {
    const at::NoGradGuard no_grad;
    model->parameter("model.layers.1.mlp.up_proj.weight")[3][5].fill_(std::nan(""));
  }
  save_hf(folder_, *model, weights_of(*model), core::DType::kF32);
  const std::string message = message_of([&] { load_model(folder_, at::kBFloat16); });
  EXPECT_NE(message.find("model.layers.1.mlp.up_proj.weight holds values that are not finite"),
            std::string::npos)
      << message;
}

TEST_F(ModelFilesTest, PathsThatAreNoModelSayWhatOneIs) {
  EXPECT_NE(message_of([&] { ModelFiles::open(folder_); }).find("has no config.json; a model is a folder"),
            std::string::npos);
  EXPECT_NE(message_of([&] { ModelFiles::open(folder_ / "x"); }).find("does not exist"), std::string::npos);
}

TEST_F(ModelFilesTest, ValuesThatAreNotImplementedAreRefused) {
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    fs::remove_all(folder_);
    fs::copy(golden_path("untied"), folder_, fs::copy_options::recursive);
    nlohmann::json config = nlohmann::json::parse(std::ifstream(folder_ / "config.json"));
    config[key] = value;
    std::ofstream(folder_ / "config.json") << config;
    return message_of([&] { ModelFiles::open(folder_); });
  };
  EXPECT_NE(refused("hidden_act", "relu").find("hidden_act is \"relu\""), std::string::npos);
  EXPECT_NE(refused("attention_dropout", 0.1).find("attention_dropout is 0.1"), std::string::npos);
  EXPECT_NE(refused("model_type", "mamba").find("known are: gemma2"), std::string::npos);
  EXPECT_NE(refused("num_key_value_heads", 3).find("must be a multiple of num_key_value_heads = 3"),
            std::string::npos);
  EXPECT_NE(refused("rope_parameters", {{"rope_type", "longrope"},
                                        {"short_factor", {1.0}},
                                        {"long_factor", {2.0}},
                                        {"original_max_position_embeddings", 64}})
                .find("rope_type is \"longrope\"; default, linear, dynamic, yarn and llama3 are implemented"),
            std::string::npos);
}

TEST(Initialize, DependsOnSeedAndNameAloneAndHasTheRightSpread) {
  TransformerConfig config = ModelFiles::open(golden_path("untied")).config();
  const auto first = new_model(config, at::kFloat, 5), second = new_model(config, at::kFloat, 5),
             other = new_model(config, at::kFloat, 6);
  const auto embedding = [](CausalLm& m) { return m.parameter("model.embed_tokens.weight"); };
  EXPECT_TRUE(at::equal(embedding(*first), embedding(*second)));
  EXPECT_FALSE(at::equal(embedding(*first), embedding(*other)));
  EXPECT_FALSE(at::equal(embedding(*first), first->parameter("lm_head.weight")));
  EXPECT_NEAR(embedding(*first).std().item<double>(), 0.02, 0.002);
  EXPECT_NEAR(embedding(*first).mean().item<double>(), 0.0, 0.003);
  EXPECT_TRUE(at::equal(first->parameter("model.norm.weight"), at::ones({16})));
}

TEST(NewModel, AsksForTheSizesThatItNeeds) {
  ModelOptions options;
  options.family = "llama";
  options.hidden_size = 64;
  EXPECT_THROW(config_of_new_model(options, 100), core::Error);
  options.intermediate_size = 128;
  options.num_hidden_layers = 2;
  options.num_attention_heads = 4;
  EXPECT_EQ(config_of_new_model(options, 100).vocab_size, 100);
  options.vocab_size = 90;
  EXPECT_THROW(config_of_new_model(options, 100), core::Error);
}

}  // namespace
}  // namespace phalanx::model
