#include "formats/hf_config.h"

#include <gtest/gtest.h>

#include "core/json.h"
#include "error_of.h"
#include "format_test_util.h"
#include "formats/peft.h"

namespace phalanx::formats {
namespace {

using core::DType;
using nlohmann::json;
using Kind = FormatErrorKind;

HfConfig config_of(const std::string& text) {
  return {json(core::parse_json(text, "config.json")), "config.json"};
}

TEST(HfConfig, TextThatIsNotStrictJsonIsRefused) {
  const TempFolder folder;
  for (const std::string text :
       {"", "[]", "{\"a\":1,\"a\":2}", "\xef\xbb\xbf{}", "{} //", "{\"a\":NaN}", "{\"a\":1e999}"}) {
    write_bytes(folder / "config.json", text);
    EXPECT_THROW(HfConfig(folder / "config.json"), core::Error) << text;
  }
}

TEST(HfConfig, AFileTooLargeForAConfigIsRefusedUnread) {
  const TempFolder folder;
  write_bytes(folder / "config.json", "{\"a\":\"");
  std::filesystem::resize_file(folder / "config.json", 100 << 20);
  for (const auto& read : std::vector<std::function<void()>>{
           [&] { HfConfig(folder / "config.json"); }, [&] { read_generation_config(folder / "config.json"); },
           [&] { read_adapter_config(folder / "config.json"); }}) {
    const std::string message = phalanx::test::error_of(read);
    EXPECT_NE(message.find("config.json: has 104857600 bytes, at most 67108864 are allowed"),
              std::string::npos)
        << message;
  }
}

TEST(HfConfig, KeysThatNameCodeAreIgnoredWithANotice) {
  const HfConfig config = config_of(
      R"({"auto_map":{"AutoModel":"evil.Model"},"trust_remote_code":true,"custom_pipelines":{"x":{"impl":"evil.P"}}})");
  const std::vector<std::string> notices = config.notices();
  ASSERT_EQ(notices.size(), 3u);
  for (const std::string& notice : notices)
    EXPECT_NE(notice.find("is ignored; no code of a model folder is ever run"), std::string::npos) << notice;
}

TEST(HfConfig, GettersNameFileKeyValueAndRange) {
  const HfConfig config = config_of(
      R"({"hidden_size":0,"layers":2.0,"big":18446744073709551616,"minus":-0,"large":9007199254740993,"eps":0,"text":5,"flag":1,"ids":[1,"2"],"none":null})");
  const std::vector<std::pair<std::string, std::function<void()>>> cases = {
      {"hidden_size is 0, but must be an integer from 1 to 100",
       [&] { config.integer("hidden_size", 1, 100); }},
      {"layers is 2.0", [&] { config.integer("layers", 1, 100); }},
      {"big is 1.844", [&] { config.integer("big", 1, INT64_MAX); }},
      {"minus is 0", [&] { config.integer("minus", 1, 100); }},
      {"large is 9007199254740993", [&] { config.integer("large", 1, 100); }},
      {"eps is 0, but must be a number above 0", [&] { config.number("eps", 0, 1); }},
      {"text is 5, but must be a string", [&] { config.text("text"); }},
      {"flag is 1, but must be true or false", [&] { config.find_boolean("flag"); }},
      {"ids is [1,\"2\"]", [&] { config.integers("ids", 0, 10); }},
      {"absent is missing", [&] { config.integer("absent", 0, 1); }},
      {"none is missing", [&] { config.text("none"); }},
  };
  for (const auto& [message, action] : cases) {
    try {
      action();
      ADD_FAILURE() << message;
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find("config.json: " + message), std::string::npos) << error.what();
    }
  }
  EXPECT_FALSE(config.find_integer("none", 0, 1).has_value());
}

TEST(HfConfig, KnowsWhichKeysNobodyAskedFor) {
  const HfConfig config = config_of(
      R"({"hidden_size":4,"use_cache":true,"strange":1,"off":null,"rope_parameters":{"rope_theta":1.0,"odd":2},"auto_map":{"A":"b.py"}})");
  config.integer("hidden_size", 1, 10);
  config.find_object("rope_parameters")->number("rope_theta", 0, 10);
  EXPECT_EQ(config.unread_that_may_matter(), (std::vector<std::string>{"rope_parameters.odd", "strange"}));
  ASSERT_EQ(config.notices().size(), 1u);
  EXPECT_NE(config.notices()[0].find("auto_map is ignored"), std::string::npos);
}

TEST(HfConfig, ReadsBothSpellingsOfTransformersAlike) {
  for (const char* name : {"config_v5.json", "config_v4.json"}) {
    const HfConfig config(golden(name));
    EXPECT_EQ(read_dtype(config), DType::kBF16) << name;
    const RopeParameters rope = read_rope(config);
    EXPECT_EQ(rope.rope_type, "llama3");
    EXPECT_EQ(rope.rope_theta, 500000.0);
    EXPECT_EQ(rope.numbers.at("factor"), 8.0);
    EXPECT_EQ(rope.numbers.at("original_max_position_embeddings"), 1024.0);
    EXPECT_EQ(config.integers("eos_token_id", 0, 300), (std::vector<int64_t>{2, 3}));
  }
}

TEST(HfConfig, WrittenSpellingsAgreeWithEachOther) {
  json value;
  set_dtype(value, DType::kF16);
  set_rope(value, {"llama3",
                   1e6,
                   {{"factor", 32.0},
                    {"low_freq_factor", 1.0},
                    {"high_freq_factor", 4.0},
                    {"original_max_position_embeddings", 8192.0}}});
  const HfConfig config(value, "config.json");
  EXPECT_EQ(value["torch_dtype"], "float16");
  EXPECT_EQ(value["rope_theta"], 1e6);
  EXPECT_EQ(value["rope_scaling"]["original_max_position_embeddings"].dump(), "8192");
  EXPECT_EQ(value["rope_parameters"]["rope_theta"], 1e6);
  EXPECT_EQ(read_dtype(config), DType::kF16);
  EXPECT_EQ(read_rope(config).numbers.at("factor"), 32.0);
  set_rope(value, {"default", 10000.0, {}});
  EXPECT_TRUE(value["rope_scaling"].is_null());
  EXPECT_EQ(read_rope(HfConfig(value, "x")).rope_type, "default");
}

TEST(HfConfig, DisagreeingSpellingsAndImpossibleRopesAreErrors) {
  const std::vector<std::pair<Kind, std::string>> cases = {
      {Kind::kRange, R"({"rope_theta":1e4,"rope_parameters":{"rope_type":"default","rope_theta":5e5}})"},
      {Kind::kRange,
       R"({"rope_scaling":{"rope_type":"linear","factor":2},"rope_parameters":{"rope_type":"default"}})"},
      {Kind::kRange,
       R"({"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"linear","factor":4}})"},
      {Kind::kRange, R"({"rope_scaling":{"type":"linear","rope_type":"yarn","factor":2}})"},
      {Kind::kRange, R"({"rope_scaling":{"type":"strange"}})"},
      {Kind::kMissing, R"({"rope_scaling":{"type":"linear"}})"},
      {Kind::kMissing, R"({"rope_scaling":{"rope_type":"llama3","factor":8}})"},
      {Kind::kRange, R"({"rope_scaling":{"type":"linear","factor":"2"}})"},
      {Kind::kRange, R"({"rope_scaling":{"type":"linear","factor":2,"beta_fast":1}})"},
      {Kind::kRange, R"({"rope_theta":0})"},
      {Kind::kRange, R"({"rope_theta":-1})"},
      {Kind::kRange, R"({"rope_parameters":{"full_attention":{"rope_theta":1}}})"},
  };
  for (const auto& [kind, text] : cases)
    expect_format_error(
        kind, [&, &text = text] { read_rope(config_of(text)); }, text);
  const auto dtype = [](const std::string& text) { return [text] { read_dtype(config_of(text)); }; };
  expect_format_error(Kind::kRange, dtype(R"({"dtype":"float32","torch_dtype":"bfloat16"})"), "dtypes");
  expect_format_error(Kind::kRange, dtype(R"({"dtype":"int8"})"), "int8");
  EXPECT_FALSE(read_dtype(config_of("{}")).has_value());
}

TEST(GenerationConfig, SurvivesWritingAndReading) {
  const TempFolder folder;
  GenerationConfig config;
  config.bos_token_id = 1;
  config.eos_token_ids = {2, 7};
  config.temperature = 0.6;
  write_generation_config(folder / "generation_config.json", config);
  EXPECT_EQ(
      read_bytes(folder / "generation_config.json"),
      "{\n  \"bos_token_id\": 1,\n  \"eos_token_id\": [\n    2,\n    7\n  ],\n  \"temperature\": 0.6\n}\n");
  const GenerationConfig read = read_generation_config(folder / "generation_config.json");
  EXPECT_EQ(read.eos_token_ids, config.eos_token_ids);
  EXPECT_EQ(read.temperature, 0.6);
  write_bytes(folder / "x.json", R"({"eos_token_id":-5})");
  expect_format_error(
      Kind::kRange, [&] { read_generation_config(folder / "x.json"); }, "negative id");
}

}  // namespace
}  // namespace phalanx::formats
