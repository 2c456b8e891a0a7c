#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "data/base64.h"
#include "data/tokenizer.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_pipeline.h"
#include "data_test_util.h"

namespace phalanx::data {
namespace {

using Json = nlohmann::json;

const Json& golden_tokenizers() {
  static const Json golden = Json::parse(read_text(golden_path("tokenizers.json")));
  return golden["cases"];
}

const Json& golden_case(const std::string& name) {
  for (const Json& golden : golden_tokenizers())
    if (golden["name"] == name) return golden;
  throw std::runtime_error("no case " + name);
}

std::string content_of(const Json& golden) {
  if (golden.contains("content")) return golden["content"];
  if (golden.contains("base64")) return from_base64(golden["base64"].get<std::string>()).value();
  Json whole = golden["parts"];
  whole["model"] = golden.contains("model") ? golden["model"] : golden_case(golden["model of"])["model"];
  return whole.dump();
}

std::shared_ptr<const Tokenizer> load_case(const Json& golden, const TemporaryFolder& folder) {
  return load_tokenizer_file(folder.write(golden["file"], content_of(golden)));
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  StreamDecoder decoder(tokenizer, /*skip_special_tokens=*/false);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TEST(Tokenizer, IdsAndTextEqualTheReferenceLibraries) {
  ASSERT_GE(golden_tokenizers().size(), 50u);
  for (const Json& golden : golden_tokenizers()) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const TemporaryFolder folder;
    const auto tokenizer = load_case(golden, folder);
    for (const Json& row : golden["rows"]) {
      const std::string text = row[0];
      const auto ids = tokenizer->encode_with_post_processor(text);
      EXPECT_EQ(ids, row[1].get<std::vector<TokenId>>()) << text;
      if (row[2].is_string()) {
        EXPECT_EQ(tokenizer->decode(ids, false), row[2].get<std::string>()) << text;
      }
      EXPECT_EQ(streamed(*tokenizer, ids), tokenizer->decode(ids, false)) << text;
    }
  }
}

TEST(Tokenizer, RangesCoverTheTextInOrder) {
  for (const Json& golden : golden_tokenizers()) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const TemporaryFolder folder;
    const auto tokenizer = load_case(golden, folder);
    for (const Json& row : golden["rows"]) {
      const std::string text = row[0];
      const auto encoding = tokenizer->encode_with_ranges(text);
      EXPECT_EQ(encoding.ids, tokenizer->encode(text)) << text;
      ASSERT_EQ(encoding.ids.size(), encoding.byte_ranges.size());
      uint32_t last = 0;
      for (const auto& [begin, end] : encoding.byte_ranges) {
        EXPECT_LE(last, begin) << text;
        EXPECT_LE(begin, end) << text;
        EXPECT_LE(end, text.size()) << text;
        last = begin;
      }
    }
  }
}

/// Pieces of text that are hard in one way or another.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {"a",      "th",      "The ",
                                                   " ",      "  ",      "\n\n",
                                                   "\t",     "12",      "'s",
                                                   "</s>",   "<unk>",   "<|im_end|>",
                                                   "\u00e9", "e\u0301", "\u4e2d\u6587",
                                                   "\u2581", "\u200d",  "\U0001f600",
                                                   "\u0000", "\ufdfa",  "\U0001f468\u200d\U0001f469",
                                                   "\uff34", "\u00a0",  "^^^^",
                                                   ".,;",    "\ufffe",  "<0x41>"};
  std::string text;
  for (size_t left = random() % 12; left-- > 0;) text += kPieces[random() % kPieces.size()];
  return text;
}

/// Tokenizers of bytes lose nothing, whatever the text.
TEST(Tokenizer, ATextSurvivesTheWayToIdsAndBackAgain) {
  std::mt19937 random(11);
  for (const char* name : {"bytes_normalizer", "tekken"}) {
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    const auto tokenizer = load_case(golden_case(name), folder);
    for (int i = 0; i < 50'000; ++i) {
      const std::string text = random_text(random);
      const auto ids = tokenizer->encode(text, SpecialText::kLiteral);
      ASSERT_EQ(tokenizer->decode(ids, false), text);
    }
  }
}

TEST(Tokenizer, WrittenAsTokenizerJsonItStaysTheSame) {
  for (const Json& golden : golden_tokenizers()) {
    if (golden["file"] != "tokenizer.json") continue;
    SCOPED_TRACE(golden["name"].get<std::string>());
    const TokenizerSpec spec = read_tokenizer_json(content_of(golden), "tokenizer.json");
    const PipelineTokenizer first(spec);
    const PipelineTokenizer again(read_tokenizer_json(write_tokenizer_json(spec), "tokenizer.json"));
    EXPECT_EQ(first.fingerprint(), again.fingerprint());
    for (const Json& row : golden["rows"]) {
      EXPECT_EQ(again.encode_with_post_processor(row[0].get<std::string>()),
                row[1].get<std::vector<TokenId>>());
    }
  }
}

TEST(Tokenizer, OtherFilesBecomeAFolderThatLoadsTheSame) {
  for (const char* name : {"sentencepiece_bpe_identity", "sentencepiece_unigram_rules", "tekken"}) {
    SCOPED_TRACE(name);
    const Json& golden = golden_case(name);
    const TemporaryFolder folder, saved;
    const auto tokenizer = load_case(golden, folder);
    tokenizer->save_hf(saved.path());
    const auto again = load_hf_tokenizer(saved.path());
    for (const Json& row : golden["rows"]) {
      const std::string text = row[0];
      EXPECT_EQ(again->encode(text), tokenizer->encode(text)) << text;
    }
  }
}

TEST(Tokenizer, ASpecialTokenInTextIsPlainCharactersWhenAskedFor) {
  const TemporaryFolder folder;
  const auto tokenizer = load_case(golden_case("sentencepiece_bpe_identity"), folder);
  const auto eos = tokenizer->special_tokens().eos;
  ASSERT_TRUE(eos.has_value());
  const auto parsed = tokenizer->encode("a</s>", SpecialText::kParse);
  const auto literal = tokenizer->encode("a</s>", SpecialText::kLiteral);
  EXPECT_EQ(parsed.back(), *eos);
  EXPECT_EQ(std::count(literal.begin(), literal.end(), *eos), 0);
  EXPECT_EQ(tokenizer->decode(literal, false), "a</s>");
}

TEST(Tokenizer, BytesOfOneCharacterAreStreamedTogether) {
  const TemporaryFolder folder;
  const auto tokenizer = load_case(golden_case("llama_bpe_words"), folder);
  const auto id = [&](const char* token) { return tokenizer->token_to_id(token).value(); };
  StreamDecoder decoder(*tokenizer, false);
  std::string text;
  for (const char* byte : {"<0xF0>", "<0x9F>", "<0x98>", "<0x80>"}) text += decoder.push(id(byte));
  EXPECT_EQ(text, "");
  text += decoder.push(id("a"));
  EXPECT_EQ(text, "\U0001F600a");
  text += decoder.push(id("<0xF0>"));
  EXPECT_EQ(text + decoder.finish(), "\U0001F600a\uFFFD");
}

// The reference asks where a text begins in what the user wrote. The marks are put in order, the space goes.
TEST(Tokenizer, ATextWhoseSpaceWasStrippedDoesNotBeginTheUsersText) {
  const char* json = R"({"version":"1.0","added_tokens":[],"post_processor":null,"decoder":null,
    "normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Strip","strip_left":true,"strip_right":true}]},
    "pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true},
    "model":{"type":"BPE","vocab":{"\u2581":0,"\u0323":1,"\u0301":2},"merges":[]}})";
  const PipelineTokenizer tokenizer(read_tokenizer_json(json, "tokenizer.json"));
  EXPECT_EQ(tokenizer.encode(" \u0301\u0323", SpecialText::kParse), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(tokenizer.encode("\u0301\u0323", SpecialText::kParse), (std::vector<TokenId>{0, 1, 2}));
}

// --- errors ---

Json small_bpe() {
  return Json::parse(R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,
    "post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}})");
}

std::string load_error(const Json& value) {
  return error_of([&] { PipelineTokenizer(read_tokenizer_json(value.dump(), "tokenizer.json")); });
}

TEST(TokenizerErrors, NameWhatIsUnknownAndWhatIsSupported) {
  const auto with = [](const char* part, const char* text) {
    Json value = small_bpe();
    value[part] = Json::parse(text);
    return load_error(value);
  };
  const auto has = [](const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(with("normalizer", R"({"type":"Nmt"})"),
      {"tokenizer.json: normalizer: type Nmt", "NFC, NFD", "BertNormalizer"});
  has(with("normalizer", R"({"type":"NFC","strength":2})"),
      {"normalizer: the key \"strength\"", "known are type"});
  has(with("normalizer", R"({"type":"Replace","pattern":{"Regex":"\\bx"},"content":""})"), {"\\b"});
  has(with("normalizer", R"({"type":"Replace","pattern":{"String":""},"content":""})"),
      {"at least one character"});
  has(with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"AAAA"})"),
      {"precompiled_charsmap", "damaged"});
  has(with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"?"})"), {"is not base64"});
  has(with("pre_tokenizer", R"({"type":"UnicodeScripts"})"),
      {"pre_tokenizer: type UnicodeScripts", "Metaspace", "Digits"});
  has(with("pre_tokenizer", R"({"type":"Metaspace","replacement":"xy"})"), {"one character"});
  has(with("pre_tokenizer", R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})"),
      {"add_prefix_space is false"});
  has(with("decoder", R"({"type":"Rot13"})"), {"decoder: type Rot13", "ByteFallback", "WordPiece"});
  has(with("post_processor", R"({"type":"Other"})"), {"post_processor: type Other", "TemplateProcessing"});
  has(with("post_processor", R"({"type":"BertProcessing","sep":["b",1],"cls":["a",9]})"),
      {"9 is no id of the 3 tokens"});
  has(with("model", R"({"type":"WordLevel","vocab":{}})"),
      {"model: type WordLevel", "BPE, Unigram, WordPiece"});
  has(with("model", R"({"type":"WordPiece","vocab":{"a":0},"unk_token":"[UNK]"})"),
      {"[UNK]", "not in the vocabulary"});
  has(with("model", R"({"type":"WordPiece","vocab":{"a":0}})"), {"\"unk_token\" is missing"});
  has(with("model", R"({"type":"Unigram","vocab":[["a",-1],["b"]]})"), {"entry 1", "[\"piece\", score]"});
  has(with("model", R"({"type":"Unigram","vocab":[["a",-1]],"unk_id":4})"), {"4 is no id of the 1 tokens"});
  has(with("model", R"({"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1})"), {"dropped at random"});
  has(with("model", R"({"type":"BPE","vocab":{"a":0,"b":2},"merges":[]})"), {"ids up to 2"});
  has(with("new_part", "{}"), {"the key \"new_part\" is not known"});
}

TEST(TokenizerErrors, ACharacterWithoutAnyTokenIsRefused) {
  const PipelineTokenizer bpe(read_tokenizer_json(small_bpe().dump(), "tokenizer.json"));
  EXPECT_EQ(bpe.encode("ab", SpecialText::kParse), std::vector<TokenId>{2});
  EXPECT_NE(
      error_of([&] { bpe.encode("abc", SpecialText::kParse); }).find("no token for the character \"c\""),
      std::string::npos);
  Json unigram = small_bpe();
  unigram["model"] = Json::parse(R"({"type":"Unigram","vocab":[["a",-1]],"unk_id":null})");
  const PipelineTokenizer no_unk(read_tokenizer_json(unigram.dump(), "tokenizer.json"));
  EXPECT_NE(error_of([&] { no_unk.encode("ax", SpecialText::kParse); }).find("no token for \"x\""),
            std::string::npos);
}

TEST(TokenizerErrors, TiktokenFilesSayWhichLineIsWrong) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& text) {
    return error_of([&] { load_tokenizer_file(folder.write("x.tiktoken", text)); });
  };
  EXPECT_NE(error("YQ== 0\nYg== 1\n").find("has 2 ranks"), std::string::npos);
  EXPECT_NE(error("YQ== 0\nYg== 1\n").find("100256 (cl100k_base)"), std::string::npos);
  EXPECT_NE(error("YQ== 0\nYg== 1\n").find("\"pat_str\""), std::string::npos);
  EXPECT_NE(error("YQ== 0\nYg 1\n").find("line 2"), std::string::npos);
  EXPECT_NE(error("YQ== 0\nYg== 0\n").find("rank 0 occurs twice"), std::string::npos);
  EXPECT_NE(error("YQ== 0\nYg==\n").find("line 2"), std::string::npos);
}

/// All bytes as tokens, and "ab".
std::string small_tiktoken() {
  std::string lines;
  for (int byte = 0; byte < 256; ++byte)
    lines += to_base64(std::string(1, static_cast<char>(byte))) + fmt::format(" {}\n", byte);
  return lines + "YWI= 256\n";
}

TEST(Tokenizer, ATiktokenFileTakesItsPatternAndSpecialTokensFromTheFolder) {
  const TemporaryFolder folder;
  folder.write("own.tiktoken", small_tiktoken());
  folder.write("tokenizer_config.json",
               R"({"pat_str":"\\p{L}|[^\\p{L}]+","bos_token":"[BOS]","add_bos_token":true,
                   "added_tokens_decoder":{"257":{"content":"[BOS]"},"259":{"content":"[EOS]"}},"eos_token":"[EOS]"})");
  const auto tokenizer = load_hf_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->vocab_size(), 260);
  EXPECT_EQ(tokenizer->encode("ab"), (std::vector<TokenId>{'a', 'b'}));
  EXPECT_EQ(tokenizer->encode_with_post_processor("a[EOS]"), (std::vector<TokenId>{257, 'a', 259}));
  EXPECT_EQ(tokenizer->stop_ids(), std::vector<TokenId>{259});
  const TemporaryFolder saved;
  tokenizer->save_hf(saved.path());
  EXPECT_EQ(load_hf_tokenizer(saved.path())->encode("ab[EOS]"), tokenizer->encode("ab[EOS]"));
}

TEST(TokenizerErrors, ATiktokenFileWhoseSpecialTokensAreRanksIsRefused) {
  const TemporaryFolder folder;
  folder.write("own.tiktoken", small_tiktoken());
  folder.write("tokenizer_config.json",
               R"({"pat_str":"\\p{L}+","added_tokens_decoder":{"7":{"content":"[BOS]"}}})");
  EXPECT_NE(error_of([&] { load_hf_tokenizer(folder.path()); }).find("id 7 is the special token \"[BOS]\""),
            std::string::npos);
  folder.write("tokenizer_config.json",
               R"({"pat_str":"x","added_tokens_decoder":{"seven":{"content":"[BOS]"}}})");
  EXPECT_NE(error_of([&] { load_hf_tokenizer(folder.path()); }).find("its key is no id"), std::string::npos);
}

TEST(TokenizerErrors, AFolderWithoutATokenizerSaysWhatWasLookedFor) {
  const TemporaryFolder folder;
  EXPECT_NE(error_of([&] {
              load_hf_tokenizer(folder.path());
            }).find("tokenizer.json, tokenizer.model, tekken.json"),
            std::string::npos);
}

/// Loads and uses damaged bytes: an error of ours or a tokenizer, never anything else.
void use_damaged(const TemporaryFolder& folder, const std::string& name, const std::string& bytes) {
  try {
    const auto tokenizer = load_tokenizer_file(folder.write(name, bytes));
    tokenizer->decode(tokenizer->encode("the Ｔhing 日本 😀"), false);
  } catch (const core::Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(core::ExitCode::kBadInput)) << error.what();
  }
}

TEST(TokenizerErrors, DamagedSentencePieceModelsDoNoHarm) {
  const TemporaryFolder folder;
  std::mt19937 random(7);
  for (const char* name : {"sentencepiece_unigram_rules", "sentencepiece_bpe_symbols"}) {
    const std::string whole = content_of(golden_case(name));
    for (int i = 0; i < 60; ++i) use_damaged(folder, "cut.model", whole.substr(0, random() % whole.size()));
    for (int i = 0; i < 120; ++i) {
      std::string bytes = whole;
      for (int k = 0; k < 4; ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
      use_damaged(folder, "changed.model", bytes);
    }
  }
  for (const std::string& bytes :
       {std::string("\x0A\x7F\x0A", 3) + "abc", std::string("\x0A\x02\x0A\xFF", 4), std::string(70, '\x0A'),
        std::string("\x0A\x03\x0A\x01\x61\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")}) {
    use_damaged(folder, "made.model", bytes);
  }
}

}  // namespace
}  // namespace phalanx::data
