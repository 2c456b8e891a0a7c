// Hostile tokenizer files: each row is refused as the kind that it names, in one line, and quickly; texts
// that make matching quadratic are encoded in time.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "core/json.h"
#include "data/base64.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_pipeline.h"
#include "data_test_util.h"

namespace phalanx::data {
namespace {

using OrderedJson = nlohmann::ordered_json;
using HostileKind = TokenizerErrorKind;

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

const std::string kDoubles = R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"})",
                  kBytes = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
std::string in_a_row(const std::string& key, const std::string& part, int count) {
  return R"({"type":"Sequence",")" + key + "\":[" + part + times("," + part, count - 1) + "]}";
}

struct HostileTokenizer {
  std::string name;
  HostileKind kind;
  std::string json;
  std::string text = "ab";  ///< what is encoded, where only that shows it
};

std::vector<HostileTokenizer> file_rows() {
  return {
      {"empty", HostileKind::kJson, ""},
      {"a list", HostileKind::kSchema, "[]"},
      {"text", HostileKind::kSchema, "\"x\""},
      {"two objects", HostileKind::kJson, with("", "") + "{}"},
      {"byte order mark", HostileKind::kJson, "\xef\xbb\xbf" + with("", "")},
      {"version is a number", HostileKind::kSchema, with("version", "1")},
      {"unknown model", HostileKind::kSchema, with("model", R"({"type":"Magic"})")},
      {"model without a type", HostileKind::kVocab, with("model", R"({"vocab":[1]})")},
      {"model is null", HostileKind::kSchema, with("model", "null")},
      {"key twice", HostileKind::kJson, with("version", R"("1.0","version":"1.0")")},
      {"vocabulary is a list", HostileKind::kSchema, bpe(R"("vocab":["a"],"merges":[])")},
      {"id twice", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":0},"merges":[])")},
      {"hole in the ids", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":2},"merges":[])")},
      {"id 2^31", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":2147483648},"merges":[])")},
      {"id 2^62", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":4611686018427387904},"merges":[])")},
      {"id 2^64", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":18446744073709551616},"merges":[])")},
      {"id negative", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":-1},"merges":[])")},
      {"id 1.0", HostileKind::kVocab, bpe(R"("vocab":{"a":0,"b":1.0},"merges":[])")},
      {"id is text", HostileKind::kVocab, bpe(R"("vocab":{"a":"0"},"merges":[])")},
      {"token not UTF-8", HostileKind::kJson, bpe("\"vocab\":{\"a\xff\":0},\"merges\":[]")},
      {"token with a lone surrogate", HostileKind::kJson, bpe(R"("vocab":{"\ud800":0},"merges":[])")},
      {"no vocabulary", HostileKind::kText, bpe(R"("vocab":{},"merges":[])")},
      {"merge of an unknown part", HostileKind::kMerges, bpe(R"("vocab":{"a":0},"merges":[["a","z"]])")},
      {"merge into an unknown token", HostileKind::kMerges,
       bpe(R"("vocab":{"a":0,"b":1},"merges":[["a","b"]])")},
      {"merge of nothing", HostileKind::kMerges, bpe(R"("vocab":{"a":0},"merges":[["",""]])")},
      {"merge of three", HostileKind::kMerges, bpe(R"("vocab":{"a":0},"merges":[["a","a","a"]])")},
      {"merge of numbers", HostileKind::kMerges, bpe(R"("vocab":{"a":0},"merges":[[0,0]])")},
      {"merge without a blank", HostileKind::kMerges, bpe(R"("vocab":{"a":0},"merges":["aa"])")},
      {"merges in both spellings", HostileKind::kMerges,
       bpe(R"("vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"],"a b"])")},
      {"prefix longer than the piece", HostileKind::kMerges,
       bpe(R"("vocab":{"a":0,"b":1},"continuing_subword_prefix":"####","merges":[["a","b"]])")},
      {"unknown unk_token", HostileKind::kVocab, bpe(R"("vocab":{"a":0},"merges":[],"unk_token":"[U]")")},
      {"dropout", HostileKind::kSchema, bpe(R"("vocab":{"a":0},"merges":[],"dropout":0.5)")},
  };
}

std::vector<HostileTokenizer> part_rows() {
  return {
      {"regex backtracks", HostileKind::kRegex, split("(a+)+$"), std::string(5000, 'a') + "b"},
      {"regex of 25 stars", HostileKind::kRegex, split("(.*a){25}"), std::string(5000, 'a')},
      {"regex with a backreference", HostileKind::kRegex, split(R"((a)\1)")},
      {"regex too large", HostileKind::kRegex, split("a{1000}{1000}{1000}")},
      {"regex unclosed", HostileKind::kRegex, split("(a")},
      {"regex calls code", HostileKind::kRegex, split("(?C1)a")},
      {"regex recurses", HostileKind::kRegex, split("(?R)")},
      {"regex in Replace backtracks", HostileKind::kRegex, replace("(a+)+$"), std::string(5000, 'a') + "b"},
      {"regex in Replace unclosed", HostileKind::kRegex, replace("[a")},
      {"behaviour unknown", HostileKind::kSchema,
       with("pre_tokenizer", R"({"type":"Split","pattern":{"String":"a"},"behavior":"Odd","invert":false})")},
      {"charsmap not base64", HostileKind::kSchema,
       with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"!"})")},
      {"charsmap cut short", HostileKind::kSchema,
       with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"AAE="})")},
      {"lookbehind without a fixed length", HostileKind::kRegex, split("(?<=a+)b")},
      {"an alternation of 10^5 words", HostileKind::kRegex, split(alternatives(100'000))},
      {"Prepend of 10 MB", HostileKind::kTooLarge,
       with("normalizer", R"({"type":"Prepend","prepend":")" + std::string(10 << 20, 'a') + "\"}")},
      {"Replace by 1 MB each", HostileKind::kTooLarge,
       with("normalizer",
            R"({"type":"Replace","pattern":{"String":"a"},"content":")" + std::string(1 << 20, 'a') + "\"}"),
       std::string(1'000'000, 'a')},
      {"normalizers that double a text 60 times", HostileKind::kTooLarge,
       with("normalizer", in_a_row("normalizers", kDoubles, 60))},
      {"pre-tokenizers that double a text 60 times", HostileKind::kTooLarge,
       with("pre_tokenizer", in_a_row("pretokenizers", kBytes, 60)), "\u00e9"},
      {"a thousand normalizers", HostileKind::kTooLarge,
       with("normalizer", in_a_row("normalizers", R"({"type":"NFC"})", 1000))},
      {"a decoder that doubles tokens 60 times", HostileKind::kTooLarge,
       with("decoder", in_a_row("decoders", kDoubles, 60))},
      {"charsmap claims 4 GiB", HostileKind::kSchema,
       with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"/////wAAAAA="})")},
      {"added id clashes", HostileKind::kAddedTokens, added(token(0, "x"))},
      {"added id far away", HostileKind::kAddedTokens, added(token(1'000'000'000, "x"))},
      {"added id negative", HostileKind::kAddedTokens, added(token(-1, "x"))},
      {"added content empty", HostileKind::kAddedTokens, added(token(3, ""))},
      {"added twice", HostileKind::kAddedTokens, added(token(3, "x") + "," + token(4, "x"))},
      {"template with an unknown token", HostileKind::kPostProcessor,
       with(
           "post_processor",
           R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}],"pair":[],"special_tokens":{}})")},
      {"template with an unknown id", HostileKind::kPostProcessor,
       with(
           "post_processor",
           R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
               "pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[99],"tokens":["<s>"]}}})")},
      {"unigram score is text", HostileKind::kVocab,
       with("model", R"({"type":"Unigram","vocab":[["a","x"]],"unk_id":0})")},
      {"unigram score too large", HostileKind::kJson,
       with("model", R"({"type":"Unigram","vocab":[["a",1e999]],"unk_id":0})")},
      {"unigram score NaN", HostileKind::kJson,
       with("model", R"({"type":"Unigram","vocab":[["a",NaN]],"unk_id":0})")},
      {"unigram entry of three", HostileKind::kVocab,
       with("model", R"({"type":"Unigram","vocab":[["a",0,0]]})")},
      {"unigram without pieces", HostileKind::kText, with("model", R"({"type":"Unigram","vocab":[]})")},
      {"unk_id negative", HostileKind::kVocab,
       with("model", R"({"type":"Unigram","vocab":[["a",0]],"unk_id":-1})")},
      {"unk_id behind the end", HostileKind::kVocab,
       with("model", R"({"type":"Unigram","vocab":[["a",0]],"unk_id":1})")},
      {"normalizers nested", HostileKind::kDepth, with("normalizer", nested("normalizers", 100'000))},
      {"pre-tokenizers nested", HostileKind::kDepth, with("pre_tokenizer", nested("pretokenizers", 100'000))},
      {"decoders nested", HostileKind::kDepth, with("decoder", nested("decoders", 100'000))},
      {"lists nested", HostileKind::kDepth, with("version", times("[", 1'000'000))},
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

/// Every token in normal form would be 1 MB.
TEST(TokenizerHostile, ManyAddedTokensInALongNormalFormAreRefused) {
  std::string tokens;
  for (int i = 0; i < 10'000; ++i) {
    std::string one = token(i + 3, "<" + std::to_string(i) + ">");
    const size_t at = one.find(R"("normalized":false)");
    tokens += (i ? "," : "") + one.replace(at, 18, R"("normalized":true)");
  }
  std::string json = added(tokens);
  const size_t at = json.find(R"("normalizer":null)");
  json.replace(at, 17, R"("normalizer":{"type":"Prepend","prepend":")" + std::string(1'000'000, 'a') + "\"}");
  EXPECT_NE(error_of([&] { PipelineTokenizer(read_tokenizer_json(json, "x")); }).find("makes"),
            std::string::npos);
}

/// The units of a charsmap's trie lead to themselves, to each other, or out of it and of the replacements.
TEST(TokenizerHostile, ACharsmapThatLeadsAstrayReplacesNothingOrEnds) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<uint32_t> units(1 + random() % 600);
    for (size_t i = 0; i < units.size(); ++i) {
      const uint32_t label = trial % 2 ? 'a' : static_cast<uint32_t>(random() % 256);
      const uint32_t offset = trial % 3 ? static_cast<uint32_t>(random() % 600) : random() % (1U << 21);
      units[i] = label | 0x100U * (random() % 2) | 0x200U * (random() % 8 == 0) | offset << 10;
    }
    std::string bytes(4 + units.size() * 4, '\0');
    const auto size = static_cast<uint32_t>(units.size() * 4);
    std::memcpy(bytes.data(), &size, 4);
    std::memcpy(bytes.data() + 4, units.data(), size);
    const std::string json = with(
        "normalizer", R"({"type":"Precompiled","precompiled_charsmap":")" + to_base64(bytes + "ab") + "\"}");
    const PipelineTokenizer tokenizer(read_tokenizer_json(json, "x"));
    for (const std::string text : {"ab", "aaaaaaaa", "abababab"}) {
      try {
        tokenizer.encode(text, SpecialText::kParse);
      } catch (const TokenizerError&) {
      }
    }
  }
}

TEST(TokenizerHostile, ByteFallbackWithoutAllBytesIsUsedWhereItSuffices) {
  const PipelineTokenizer tokenizer(read_tokenizer_json(
      bpe(R"("vocab":{"a":0,"<0xC3>":1,"<0xA9>":2,"<0xZZ>":3},"merges":[],"byte_fallback":true)"), "x"));
  EXPECT_EQ(tokenizer.encode("a\u00e9", SpecialText::kParse), (std::vector<TokenId>{0, 1, 2}));
  EXPECT_NE(error_of([&] { tokenizer.encode("\u00ea", SpecialText::kParse); }).find("no token for"),
            std::string::npos);
}

TEST(TokenizerHostile, FilesBeyondTheLimitAreRefusedUnread) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", with("", ""));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    const TemporaryFolder own;
    own.write("tokenizer.json", with("", ""));
    std::ofstream(own.path(name), std::ios::app) << "";
    std::filesystem::resize_file(own.path(name), uint64_t{1} << 40);
    EXPECT_LT(seconds_of([&] {
                EXPECT_NE(error_of([&] { load_hf_tokenizer(own.path()); }).find("1099511627776 bytes"),
                          std::string::npos)
                    << name;
              }),
              1);
  }
  folder.write("chat_template.jinja", std::string((1 << 20) + 1, 'x'));
  EXPECT_NE(error_of([&] { load_hf_tokenizer(folder.path()); }).find("its chat template has 1048577 bytes"),
            std::string::npos);
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
