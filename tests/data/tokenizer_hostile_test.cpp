// Hostile tokenizer files: each row is refused as the kind that it names, in one line, and quickly; texts
// that make matching quadratic are encoded in time.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_pipeline.h"
#include "data_test_util.h"

namespace phalanx::data {
namespace {

using OrderedJson = nlohmann::ordered_json;
using Kind = TokenizerErrorKind;

std::string times(const std::string& text, int count) {
  std::string all;
  all.reserve(text.size() * static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

/// A good tokenizer.json with one part replaced.
std::string with(const std::string& part, const std::string& json) {
  OrderedJson whole =
      OrderedJson::parse(R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,
    "post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}})");
  std::string text = "{";
  for (const auto& [name, value] : whole.items())
    text += (text.size() > 1 ? ",\"" : "\"") + name + "\":" + (name == part ? json : value.dump());
  return text + "}";
}
std::string bpe(const std::string& rest) {
  return with("model", R"({"type":"BPE",)" + rest + "}");
}
std::string added(const std::string& tokens) {
  return with("added_tokens", "[" + tokens + "]");
}
std::string token(int64_t id, const std::string& content) {
  return R"({"id":)" + std::to_string(id) + R"(,"content":")" + content +
         R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})";
}
std::string split(const std::string& regex) {
  return with("pre_tokenizer", R"({"type":"Split","pattern":{"Regex":)" + OrderedJson(regex).dump() +
                                   R"(},"behavior":"Isolated","invert":false})");
}
std::string replace(const std::string& regex) {
  return with("normalizer",
              R"({"type":"Replace","pattern":{"Regex":)" + OrderedJson(regex).dump() + R"(},"content":"x"})");
}
std::string nested(const std::string& key, int depth) {
  return times(R"({"type":"Sequence",")" + key + R"(":[)", depth) + times("]}", depth);
}
std::string alternatives(int count) {
  std::string regex = "a0";
  for (int i = 1; i < count; ++i) regex += "|a" + std::to_string(i);
  return regex;
}

struct HostileTokenizer {
  std::string name;
  Kind kind;
  std::string json;
  std::string text = "ab";  ///< what is encoded, where only that shows it
};

std::vector<HostileTokenizer> file_rows() {
  return {
      {"empty", Kind::kJson, ""},
      {"a list", Kind::kSchema, "[]"},
      {"text", Kind::kSchema, "\"x\""},
      {"two objects", Kind::kJson, with("", "") + "{}"},
      {"byte order mark", Kind::kJson, "\xef\xbb\xbf" + with("", "")},
      {"version is a number", Kind::kSchema, with("version", "1")},
      {"unknown model", Kind::kSchema, with("model", R"({"type":"Magic"})")},
      {"model without a type", Kind::kVocab, with("model", R"({"vocab":[1]})")},
      {"model is null", Kind::kSchema, with("model", "null")},
      {"key twice", Kind::kJson, with("version", R"("1.0","version":"1.0")")},
      {"vocabulary is a list", Kind::kSchema, bpe(R"("vocab":["a"],"merges":[])")},
      {"id twice", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":0},"merges":[])")},
      {"hole in the ids", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":2},"merges":[])")},
      {"id 2^31", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":2147483648},"merges":[])")},
      {"id 2^62", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":4611686018427387904},"merges":[])")},
      {"id 2^64", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":18446744073709551616},"merges":[])")},
      {"id negative", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":-1},"merges":[])")},
      {"id 1.0", Kind::kVocab, bpe(R"("vocab":{"a":0,"b":1.0},"merges":[])")},
      {"id is text", Kind::kVocab, bpe(R"("vocab":{"a":"0"},"merges":[])")},
      {"token not UTF-8", Kind::kJson, bpe("\"vocab\":{\"a\xff\":0},\"merges\":[]")},
      {"token with a lone surrogate", Kind::kJson, bpe(R"("vocab":{"\ud800":0},"merges":[])")},
      {"no vocabulary", Kind::kText, bpe(R"("vocab":{},"merges":[])")},
      {"merge of an unknown part", Kind::kMerges, bpe(R"("vocab":{"a":0},"merges":[["a","z"]])")},
      {"merge into an unknown token", Kind::kMerges, bpe(R"("vocab":{"a":0,"b":1},"merges":[["a","b"]])")},
      {"merge of nothing", Kind::kMerges, bpe(R"("vocab":{"a":0},"merges":[["",""]])")},
      {"merge of three", Kind::kMerges, bpe(R"("vocab":{"a":0},"merges":[["a","a","a"]])")},
      {"merge of numbers", Kind::kMerges, bpe(R"("vocab":{"a":0},"merges":[[0,0]])")},
      {"merge without a blank", Kind::kMerges, bpe(R"("vocab":{"a":0},"merges":["aa"])")},
      {"merges in both spellings", Kind::kMerges,
       bpe(R"("vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"],"a b"])")},
      {"prefix longer than the piece", Kind::kMerges,
       bpe(R"("vocab":{"a":0,"b":1},"continuing_subword_prefix":"####","merges":[["a","b"]])")},
      {"unknown unk_token", Kind::kVocab, bpe(R"("vocab":{"a":0},"merges":[],"unk_token":"[U]")")},
      {"dropout", Kind::kSchema, bpe(R"("vocab":{"a":0},"merges":[],"dropout":0.5)")},
  };
}

std::vector<HostileTokenizer> part_rows() {
  return {
      {"regex backtracks", Kind::kRegex, split("(a+)+$"), std::string(5000, 'a') + "b"},
      {"regex of 25 stars", Kind::kRegex, split("(.*a){25}"), std::string(5000, 'a')},
      {"regex with a backreference", Kind::kRegex, split(R"((a)\1)")},
      {"regex too large", Kind::kRegex, split("a{1000}{1000}{1000}")},
      {"regex unclosed", Kind::kRegex, split("(a")},
      {"regex calls code", Kind::kRegex, split("(?C1)a")},
      {"regex recurses", Kind::kRegex, split("(?R)")},
      {"regex in Replace backtracks", Kind::kRegex, replace("(a+)+$"), std::string(5000, 'a') + "b"},
      {"regex in Replace unclosed", Kind::kRegex, replace("[a")},
      {"behaviour unknown", Kind::kSchema,
       with("pre_tokenizer", R"({"type":"Split","pattern":{"String":"a"},"behavior":"Odd","invert":false})")},
      {"charsmap not base64", Kind::kSchema,
       with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"!"})")},
      {"charsmap cut short", Kind::kSchema,
       with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"AAE="})")},
      {"charsmap claims 4 GiB", Kind::kSchema,
       with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"/////wAAAAA="})")},
      {"added id clashes", Kind::kAddedTokens, added(token(0, "x"))},
      {"added id far away", Kind::kAddedTokens, added(token(1'000'000'000, "x"))},
      {"added id negative", Kind::kAddedTokens, added(token(-1, "x"))},
      {"added content empty", Kind::kAddedTokens, added(token(3, ""))},
      {"added twice", Kind::kAddedTokens, added(token(3, "x") + "," + token(4, "x"))},
      {"template with an unknown token", Kind::kPostProcessor,
       with(
           "post_processor",
           R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}],"pair":[],"special_tokens":{}})")},
      {"template with an unknown id", Kind::kPostProcessor,
       with(
           "post_processor",
           R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
               "pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[99],"tokens":["<s>"]}}})")},
      {"unigram score is text", Kind::kVocab,
       with("model", R"({"type":"Unigram","vocab":[["a","x"]],"unk_id":0})")},
      {"unigram score too large", Kind::kJson,
       with("model", R"({"type":"Unigram","vocab":[["a",1e999]],"unk_id":0})")},
      {"unigram score NaN", Kind::kJson,
       with("model", R"({"type":"Unigram","vocab":[["a",NaN]],"unk_id":0})")},
      {"unigram entry of three", Kind::kVocab, with("model", R"({"type":"Unigram","vocab":[["a",0,0]]})")},
      {"unigram without pieces", Kind::kText, with("model", R"({"type":"Unigram","vocab":[]})")},
      {"unk_id negative", Kind::kVocab, with("model", R"({"type":"Unigram","vocab":[["a",0]],"unk_id":-1})")},
      {"unk_id behind the end", Kind::kVocab,
       with("model", R"({"type":"Unigram","vocab":[["a",0]],"unk_id":1})")},
      {"normalizers nested", Kind::kDepth, with("normalizer", nested("normalizers", 100'000))},
      {"pre-tokenizers nested", Kind::kDepth, with("pre_tokenizer", nested("pretokenizers", 100'000))},
      {"decoders nested", Kind::kDepth, with("decoder", nested("decoders", 100'000))},
      {"lists nested", Kind::kDepth, with("version", times("[", 1'000'000))},
  };
}

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(TokenizerHostile, EveryWrongFileIsATypedErrorOfOneLine) {
  for (const auto& rows : {file_rows(), part_rows()})
    for (const auto& [name, kind, json, text] : rows) {
      const double elapsed_s = seconds_of([&, &json = json, &name = name, &kind = kind, &text = text] {
        try {
          const PipelineTokenizer tokenizer(read_tokenizer_json(json, "tokenizer.json"));
          tokenizer.encode(text, SpecialText::kParse);
          ADD_FAILURE() << name << ": nothing was thrown";
        } catch (const TokenizerError& error) {
          EXPECT_EQ(int(error.kind()), int(kind)) << name << ": " << error.what();
          EXPECT_EQ(core::printable(error.what(), 10'000), error.what()) << name;
        } catch (const std::exception& error) {
          ADD_FAILURE() << name << ": another error: " << error.what();
        }
      });
      EXPECT_LT(elapsed_s, 10) << name << ": 1 s on an idle machine";
    }
}

TEST(TokenizerHostile, ManyEntriesAreReadInLinearTime) {
  std::string tokens = "\"a\":0", added_tokens;
  for (int i = 1; i < 300'000; ++i) tokens += ",\"a" + std::to_string(i) + "\":" + std::to_string(i);
  for (int i = 0; i < 100'000; ++i)
    added_tokens += (i ? "," : "") + token(i + 3, "<" + std::to_string(i) + ">");
  EXPECT_LT(seconds_of([&] {
              PipelineTokenizer(read_tokenizer_json(bpe("\"vocab\":{" + tokens + "},\"merges\":[]"), "x"));
            }),
            30);
  EXPECT_LT(seconds_of([&] {
              const PipelineTokenizer tokenizer(read_tokenizer_json(added(added_tokens), "x"));
              EXPECT_EQ(tokenizer.encode("ab<7>ab<99999>", SpecialText::kParse),
                        (std::vector<TokenId>{2, 10, 2, 100'002}));
            }),
            30);
  EXPECT_LT(seconds_of([&] {
              const PipelineTokenizer tokenizer(read_tokenizer_json(split(alternatives(2000)), "x"));
              tokenizer.encode("ab", SpecialText::kParse);
            }),
            10);
}

TEST(TokenizerHostile, ContentInsideOfContentTakesTheLongest) {
  const PipelineTokenizer tokenizer(
      read_tokenizer_json(added(token(3, "<a>") + "," + token(4, "<a><a>") + "," + token(5, "a>")), "x"));
  EXPECT_EQ(tokenizer.encode("<a><a><a>a>", SpecialText::kParse), (std::vector<TokenId>{4, 3, 5}));
}

TEST(TokenizerHostile, LongTextsWithoutASpaceAreEncodedInTime) {
  const std::string unigram = with(
      "model",
      R"({"type":"Unigram","vocab":[["<unk>",0],["a",-1],["aa",-1.5],["^",-1],["^^^^",-2]],"unk_id":0})");
  const std::string pairs = bpe(R"("vocab":{"<unk>":0,"a":1,"^":2,"aa":3,"^^":4,"aaaa":5},"unk_token":"<unk>",
      "merges":[["a","a"],["^","^"],["aa","aa"]])");
  const std::vector<std::string> texts = {std::string(1'000'000, '^'),    std::string(1'000'000, 'a'),
                                          "a" + times("\u0301", 500'000), times("\U0001f600", 250'000),
                                          std::string(100'000, '\0'),     times("\uFFFE\uFFFF", 100'000)};
  for (const std::string& json : {unigram, pairs}) {
    const PipelineTokenizer tokenizer(read_tokenizer_json(json, "tokenizer.json"));
    for (const std::string& text : texts)
      EXPECT_LT(seconds_of([&] { tokenizer.encode(text, SpecialText::kParse); }), 15)
          << "1 s on an idle machine";
  }
}

TEST(TokenizerHostile, TextThatIsNoUtf8IsRefused) {
  const PipelineTokenizer tokenizer(read_tokenizer_json(with("", ""), "tokenizer.json"));
  for (const std::string& text : {std::string("a\xff"), std::string("\xed\xa0\x80"), std::string("\xc0\x80"),
                                  std::string("a\xe2\x82")}) {
    EXPECT_NE(error_of([&] { tokenizer.encode(text, SpecialText::kParse); }).find("UTF-8"),
              std::string::npos);
  }
}

TEST(TokenizerHostile, AnIntegerBeyond64BitsIsReadAsTransformersWritesIt) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", with("", ""));
  folder.write("tokenizer_config.json",
               R"({"eos_token":"b","model_max_length":1000000000000000019884624838656})");
  EXPECT_EQ(load_hf_tokenizer(folder.path())->special_tokens().eos, 1);
  folder.write("tokenizer_config.json", R"({"eos_token":"b","model_max_length":1e999})");
  EXPECT_NE(error_of([&] { load_hf_tokenizer(folder.path()); }).find("does not fit into a double"),
            std::string::npos);
}

}  // namespace
}  // namespace phalanx::data
