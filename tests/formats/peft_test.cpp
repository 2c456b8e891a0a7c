#include "formats/peft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "format_test_util.h"

namespace phalanx::formats {
namespace {

using nlohmann::json;
using Kind = FormatErrorKind;

const std::string kModule = "model.layers.0.self_attn.q_proj";

TEST(AdapterConfig, ReadsWhatPeftWrites) {
  const AdapterConfig config = read_adapter_config(golden("adapter_config.json"));
  EXPECT_EQ(config.r, 16);
  EXPECT_EQ(config.lora_alpha, 32);
  EXPECT_EQ(config.lora_dropout, 0.05);
  EXPECT_EQ(config.base_model_name_or_path, "../../etc/passwd");
  EXPECT_TRUE(targets(config, kModule));
  EXPECT_TRUE(targets(config, "v_proj"));
  EXPECT_FALSE(targets(config, "model.layers.0.self_attn.xv_proj"));
  EXPECT_FALSE(targets(config, "model.layers.0.self_attn.o_proj"));
  EXPECT_EQ(rank_of(config, kModule), 4);
  EXPECT_EQ(scale_of(config, kModule), 3.0);
  EXPECT_EQ(rank_of(config, "model.layers.1.self_attn.q_proj"), 16);
  EXPECT_EQ(scale_of(config, "model.layers.1.self_attn.q_proj"), 2.0);
}

TEST(AdapterConfig, SurvivesWritingAndReading) {
  const TempFolder folder;
  AdapterConfig config;
  config.r = 6;
  config.lora_alpha = 9;
  config.use_rslora = true;
  config.target_modules = {"q_proj"};
  config.rank_pattern = {{"k_proj", 3}};
  write_adapter_config(folder / "adapter_config.json", config);
  const AdapterConfig read = read_adapter_config(folder / "adapter_config.json");
  EXPECT_EQ(read.r, 6);
  EXPECT_EQ(read.target_modules, config.target_modules);
  EXPECT_EQ(read.rank_pattern, config.rank_pattern);
  EXPECT_DOUBLE_EQ(scale_of(read, "q_proj"), 9 / std::sqrt(6.0));
  const json text = json::parse(read_bytes(folder / "adapter_config.json"));
  EXPECT_EQ(text.size(), 20u);
  EXPECT_EQ(text["lora_alpha"].dump(), "9");
}

TEST(AdapterConfig, RefusesEveryKeyThatWouldChangeTheResultSilently) {
  const json good = json::parse(read_bytes(golden("adapter_config.json")));
  const std::vector<std::pair<std::string, json>> changes = {
      {"use_qalora", true},
      {"use_bdlora", {{"nblocks", 2}}},
      {"bias", "all"},
      {"bias", "lora_only"},
      {"lora_bias", true},
      {"use_dora", 1},
      {"modules_to_save", "lm_head"},
      {"layers_to_transform", {0}},
      {"layers_to_transform", 0},
      {"layers_pattern", "layers"},
      {"layer_replication", {{0, 2}}},
      {"target_parameters", "mlp.experts.gate_up_proj"},
      {"trainable_token_indices", {1}},
      {"exclude_modules", {"o_proj"}},
      {"kasa_config", {{"beta", 1}}},
      {"arrow_config", {{"top_k", 1}}},
      {"alora_invocation_tokens", {1}},
      {"megatron_config", {{"a", 1}}},
      {"loftq_config", {{"loftq_bits", 4}}},
      {"velora_config", {{"a", 1}}},
      {"ensure_weight_tying", true},
      {"init_lora_weights", "pissa"},
      {"init_lora_weights", "olora"},
      {"peft_type", "IA3"},
      {"task_type", "QUESTION_ANS"},
      {"r", 0},
      {"r", 1.5},
      {"lora_alpha", 0},
      {"lora_alpha", "32"},
      {"lora_dropout", -0.1},
      {"lora_dropout", 2},
      {"target_modules", nullptr},
      {"target_modules", {1}},
      {"rank_pattern", {{"q_proj", 0}}},
      {"a_key_of_tomorrow", 1},
  };
  const TempFolder folder;
  for (const auto& [key, value] : changes) {
    json changed = good;
    changed[key] = value;
    write_bytes(folder / "adapter_config.json", changed.dump());
    const Kind kind = key == "a_key_of_tomorrow" ? Kind::kUnsupported : Kind::kRange;
    expect_format_error(
        kind, [&] { read_adapter_config(folder / "adapter_config.json"); }, key + value.dump());
  }
}

TEST(AdapterConfig, ATargetPatternMatchesTheWholePathWithinLimits) {
  AdapterConfig config;
  config.target_pattern = R"(.*\.(q|v)_proj)";
  EXPECT_TRUE(targets(config, kModule));
  EXPECT_FALSE(targets(config, kModule + ".x"));
  config.target_pattern = "(a+)+$";
  EXPECT_THROW(targets(config, std::string(200, 'a') + "b"), core::Error);
  config.target_pattern = "(";
  EXPECT_THROW(targets(config, "x"), core::Error);
}

TEST(AdapterConfig, TwoPatternsThatContradictEachOtherAreAnError) {
  AdapterConfig config;
  config.rank_pattern = {{"q_proj", 4}, {"self_attn.q_proj", 8}};
  EXPECT_THROW(rank_of(config, kModule), core::Error);
  EXPECT_EQ(rank_of(config, "mlp.up_proj"), 8);
}

TEST(AdapterTensorName, IsPeftsName) {
  EXPECT_EQ(adapter_tensor_name(kModule, LoraPart::kA), "base_model.model." + kModule + ".lora_A.weight");
  EXPECT_EQ(adapter_tensor_name(kModule, LoraPart::kMagnitude),
            "base_model.model." + kModule + ".lora_magnitude_vector");
  EXPECT_EQ(saved_tensor_name("lm_head.weight"), "base_model.model.lm_head.weight");
}

TEST(AdapterConfig, ModulesToSaveAreFoundByTheEndOfTheirPath) {
  AdapterConfig config;
  EXPECT_FALSE(is_saved_whole(config, "lm_head"));
  config.modules_to_save = {"lm_head", "norm"};
  EXPECT_TRUE(is_saved_whole(config, "lm_head"));
  EXPECT_TRUE(is_saved_whole(config, "model.layers.0.input_layernorm"));
  EXPECT_FALSE(is_saved_whole(config, "model.embed_tokens"));
}

TEST(AdapterConfig, ReadsAndWritesDoraAndModulesToSave) {
  const TempFolder folder;
  AdapterConfig config;
  config.target_modules = {"c_attn"};
  config.use_dora = config.fan_in_fan_out = true;
  config.modules_to_save = {"lm_head"};
  config.alpha_pattern = {{"h.0.attn.c_attn", 3.5}};
  write_adapter_config(folder / "adapter_config.json", config);
  const AdapterConfig read = read_adapter_config(folder / "adapter_config.json");
  EXPECT_TRUE(read.use_dora);
  EXPECT_EQ(read.modules_to_save, config.modules_to_save);
  EXPECT_EQ(read.alpha_pattern, config.alpha_pattern);
  EXPECT_TRUE(json::parse(read_bytes(folder / "adapter_config.json"))["fan_in_fan_out"].get<bool>());
}

}  // namespace
}  // namespace phalanx::formats
