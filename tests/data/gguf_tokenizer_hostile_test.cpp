// Vocabularies of GGUF files whose arrays have other types or lengths than their keys promise.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "data/tokenizer.h"
#include "data_test_util.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace phalanx::data {
namespace {

using formats::GgufPairs;
using Texts = std::vector<std::string>;

const Texts kTokens = {"<unk>", "<s>", "</s>", "a"};
const std::array<float, 4> kScores = {0, 0, 0, -1};
const std::array<int32_t, 4> kTypes = {2, 3, 3, 1};

/// The keys of a good vocabulary of model "llama", but for `left_out`.
GgufPairs vocabulary(const std::string& left_out) {
  GgufPairs pairs;
  pairs.text("general.architecture", "llama").text("tokenizer.ggml.model", "llama");
  if (left_out != "tokens") pairs.texts("tokenizer.ggml.tokens", kTokens);
  if (left_out != "scores") pairs.f32s("tokenizer.ggml.scores", kScores);
  if (left_out != "token_type") pairs.i32s("tokenizer.ggml.token_type", kTypes);
  if (left_out != "bos_token_id") pairs.u32("tokenizer.ggml.bos_token_id", 1);
  return pairs;
}

struct HostileVocabulary {
  const char *name, *key;  ///< the key that is replaced
  std::function<void(GgufPairs&)> put;
};

TEST(GgufTokenizerHostile, EveryWrongVocabularyIsAnErrorThatNamesItsKey) {
  const std::vector<HostileVocabulary> rows = {
      {"scores as integers", "scores",
       [](GgufPairs& pairs) {
         pairs.i32s("tokenizer.ggml.scores", std::array<int32_t, 4>{0, 0, 0, 1});
       }},
      {"scores as text", "scores", [](GgufPairs& pairs) { pairs.texts("tokenizer.ggml.scores", kTokens); }},
      {"scores as one number", "scores", [](GgufPairs& pairs) { pairs.f32("tokenizer.ggml.scores", 0); }},
      {"fewer scores", "scores",
       [](GgufPairs& pairs) {
         pairs.f32s("tokenizer.ggml.scores", std::array<float, 3>{0, 0, 0});
       }},
      {"no scores", "scores", [](GgufPairs&) {}},
      {"a score that is no number", "scores",
       [](GgufPairs& pairs) {
         pairs.f32s("tokenizer.ggml.scores", std::array<float, 4>{0, 0, 0, NAN});
       }},
      {"types as floats", "token_type",
       [](GgufPairs& pairs) { pairs.f32s("tokenizer.ggml.token_type", kScores); }},
      {"types out of range", "token_type",
       [](GgufPairs& pairs) {
         pairs.i32s("tokenizer.ggml.token_type", std::array<int32_t, 4>{2, 3, 3, 99});
       }},
      {"more types", "token_type",
       [](GgufPairs& pairs) {
         pairs.i32s("tokenizer.ggml.token_type", std::array<int32_t, 5>{2, 3, 3, 1, 1});
       }},
      {"no types", "token_type", [](GgufPairs&) {}},
      {"tokens as integers", "tokens", [](GgufPairs& pairs) { pairs.i32s("tokenizer.ggml.tokens", kTypes); }},
      {"a token twice", "tokens",
       [](GgufPairs& pairs) {
         pairs.texts("tokenizer.ggml.tokens", Texts{"<unk>", "<s>", "a", "a"});
       }},
      {"no tokens", "tokens", [](GgufPairs&) {}},
      {"an empty list of tokens", "tokens",
       [](GgufPairs& pairs) { pairs.texts("tokenizer.ggml.tokens", Texts{}); }},
      {"bos behind the end", "bos_token_id",
       [](GgufPairs& pairs) { pairs.u32("tokenizer.ggml.bos_token_id", 4); }},
      {"bos negative", "bos_token_id",
       [](GgufPairs& pairs) { pairs.i32("tokenizer.ggml.bos_token_id", -1); }},
      {"bos is text", "bos_token_id",
       [](GgufPairs& pairs) { pairs.text("tokenizer.ggml.bos_token_id", "1"); }},
  };
  const TemporaryFolder folder;
  for (const HostileVocabulary& row : rows) {
    const std::string path = folder.path("x.gguf");
    GgufPairs pairs = vocabulary(row.key);
    row.put(pairs);
    formats::GgufWriter(path, {}, pairs).finish();
    const std::string message = error_of([&] { load_gguf_tokenizer(formats::GgufFile(path)); });
    EXPECT_NE(message.find(row.key), std::string::npos) << row.name << ": " << message;
    std::filesystem::remove(path);
  }
}

TEST(GgufTokenizerHostile, MergesThatNameNoTokensAreErrors) {
  const TemporaryFolder folder;
  for (const char* merge : {"a z", "z a", "a a", "a", " a", "a ", ""}) {
    GgufPairs pairs;
    pairs.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
    pairs.texts("tokenizer.ggml.tokens", Texts{"a", "b", "ab"})
        .texts("tokenizer.ggml.merges", Texts{"a b", merge});
    formats::GgufWriter(folder.path("x.gguf"), {}, pairs).finish();
    const std::string message =
        error_of([&] { load_gguf_tokenizer(formats::GgufFile(folder.path("x.gguf"))); });
    EXPECT_NE(message.find("tokenizer.ggml.merges entry 1"), std::string::npos) << merge << ": " << message;
    std::filesystem::remove(folder.path("x.gguf"));
  }
}

TEST(GgufTokenizerHostile, AChatTemplateOf200MBIsRefusedWithItsSizeAndTheLimit) {
  const TemporaryFolder folder;
  GgufPairs pairs = vocabulary("");
  pairs.text("tokenizer.chat_template", std::string(200'000'000, 'x'));
  formats::GgufWriter(folder.path("x.gguf"), {}, pairs).finish();
  const formats::GgufFile file(folder.path("x.gguf"));
  const std::string message = error_of([&] { load_gguf_tokenizer(file); });
  EXPECT_NE(message.find("x.gguf: its chat template has 200000000 bytes, 1048576 at most are read"),
            std::string::npos)
      << message;
}

TEST(GgufTokenizerHostile, TokensThatOnlyLookLikeBytesArePlain) {
  const TemporaryFolder folder;
  GgufPairs pairs = vocabulary("tokens");
  pairs.texts("tokenizer.ggml.tokens", Texts{"<unk>", "<s>", "<0x-1>", "<0xZZ>"});
  formats::GgufWriter(folder.path("x.gguf"), {}, pairs).finish();
  const formats::GgufFile file(folder.path("x.gguf"));
  const auto tokenizer = load_gguf_tokenizer(file);
  EXPECT_EQ(tokenizer->token_bytes(3), "<0xZZ>");
}

}  // namespace
}  // namespace phalanx::data
