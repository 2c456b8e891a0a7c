#include "data/tokenizer_trainer.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "data/bpe_trainer.h"
#include "data_test_util.h"

namespace phalanx::data {
namespace {

using TrainerJson = nlohmann::json;

TokenizerTraining training_on(const std::string& file) {
  TokenizerTraining training;
  training.files = {file};
  training.vocab_size = 300;
  return training;
}

std::string as_records(const TrainerJson& texts) {
  std::string lines;
  for (const TrainerJson& text : texts) lines += TrainerJson({{"text", text}}).dump() + "\n";
  return lines;
}

/// Writes the tokenizer and reads what its tokenizer.json says of the model.
TrainerJson saved_model(const Tokenizer& tokenizer) {
  const TemporaryFolder folder;
  tokenizer.save_hf(folder.path());
  return TrainerJson::parse(read_text(folder.path("tokenizer.json")))["model"];
}

std::vector<std::string> merges_of(const TrainerJson& model) {
  std::vector<std::string> merges;
  for (const TrainerJson& pair : model["merges"])
    merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
  return merges;
}

TEST(TokenizerTrainer, LearnsTheMergesThatTheReferenceLearns) {
  const TrainerJson golden = TrainerJson::parse(read_text(golden_path("bpe_trainer.json")));
  ASSERT_GE(golden["cases"].size(), 36u);
  for (const TrainerJson& wanted : golden["cases"]) {
    SCOPED_TRACE(wanted["corpus"].get<std::string>() + " " + wanted["pre_tokenizer"].get<std::string>() +
                 " " + std::to_string(wanted["vocab_size"].get<int64_t>()));
    const TemporaryFolder folder;
    TokenizerTraining training = training_on(
        folder.write("corpus.jsonl", as_records(golden["corpora"][wanted["corpus"].get<std::string>()])));
    training.vocab_size = std::max(wanted["vocab_size"].get<int64_t>(), wanted["num_tokens"].get<int64_t>());
    training.min_frequency = wanted["min_frequency"];
    training.pre_tokenizer = wanted["pre_tokenizer"];
    training.special_tokens = wanted["special_tokens"].get<std::vector<std::string>>();
    const TrainedTokenizer trained = train_tokenizer(training);
    const TrainerJson model = saved_model(*trained.tokenizer);
    EXPECT_EQ(merges_of(model), wanted["merges"].get<std::vector<std::string>>());
    EXPECT_EQ(model["vocab"].size(), wanted["num_tokens"].get<size_t>());
  }
}

TEST(TokenizerTrainer, GivesTheSameForAnyNumberOfThreadsAndAnyKindOfFile) {
  const TemporaryFolder folder;
  std::string lines, records;
  for (int i = 0; i < 60000; ++i) {
    const std::string line = fmt::format("the {}th line of w{} and {}\n", i, i % 97, i * 7919 % 1009);
    lines += line;
    records += TrainerJson({{"text", line}}).dump() + "\n";
  }
  const std::string packed = folder.path("lines.txt.gz");
  gzFile file = gzopen(packed.c_str(), "wb");
  gzwrite(file, lines.data(), static_cast<unsigned>(lines.size()));
  gzclose(file);
  TokenizerTraining training = training_on(folder.write("lines.txt", lines));
  training.vocab_size = 600;
  const TrainedTokenizer wanted = train_tokenizer(training);
  EXPECT_EQ(wanted.num_texts, 60000);
  EXPECT_EQ(wanted.num_bytes, static_cast<int64_t>(lines.size()));
  for (const std::string& other : {training.files[0], packed, folder.write("records.jsonl", records)}) {
    for (const int num_threads : {1, 3}) {
      training.files = {other};
      training.num_threads = num_threads;
      const TrainedTokenizer trained = train_tokenizer(training);
      EXPECT_EQ(trained.tokenizer->fingerprint(), wanted.tokenizer->fingerprint()) << other;
      EXPECT_EQ(trained.num_words, wanted.num_words);
    }
  }
}

TEST(TokenizerTrainer, TakesTheTextsOfMessagesPairsAndPreferences) {
  const TemporaryFolder folder;
  const TrainedTokenizer trained = train_tokenizer(training_on(folder.write(
      "records.jsonl",
      R"({"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two","reasoning_content":"three"}]})"
      "\n"
      R"({"prompt":"four","completion":"five"})"
      "\n"
      R"({"prompt":"six","chosen":"seven","rejected":"eight"})"
      "\n")));
  EXPECT_EQ(trained.num_texts, 9);  // the prompt of a preference belongs to both of its answers
  EXPECT_EQ(trained.num_different_words, 8);
}

TEST(TokenizerTrainer, WritesAFolderThatLoadsTheSame) {
  const TemporaryFolder folder, saved;
  TokenizerTraining training =
      training_on(folder.write("text.txt", "the theory of the thing\nthe  other \xF0\x9F\x98\x80 thing\n"));
  training.special_tokens = {"<|im_start|>", "<|im_end|>"};
  training.eos = "<|im_end|>";
  training.pad = "<|pad|>";
  for (const std::string& pre : pre_tokenizer_names()) {
    SCOPED_TRACE(pre);
    training.pre_tokenizer = pre;
    training.vocab_size = pre == "sentencepiece" ? 290 : 270;
    const TrainedTokenizer trained = train_tokenizer(training);
    trained.tokenizer->save_hf(saved.path());
    const auto loaded = load_hf_tokenizer(saved.path());
    EXPECT_EQ(loaded->vocab_size(), trained.tokenizer->vocab_size());
    EXPECT_EQ(loaded->special_tokens().eos, 1);
    EXPECT_EQ(loaded->special_tokens().pad, 2);
    EXPECT_EQ(loaded->stop_ids(), std::vector<TokenId>{1});
    for (const char* text : {"the other<|im_end|>", "  unseen \xC3\xA9\n\tx ", "12 \xE6\x97\xA5"}) {
      const std::vector<TokenId> ids = loaded->encode(text);
      EXPECT_EQ(ids, trained.tokenizer->encode(text));
      EXPECT_EQ(loaded->decode(ids, false), text);
    }
  }
}

TEST(TokenizerTrainer, LeavesRareCharactersToBytes) {
  const TemporaryFolder folder;
  TokenizerTraining training = training_on(folder.write("text.txt", "aab aab bbq\n"));
  training.pre_tokenizer = "sentencepiece";
  training.limit_alphabet = 3;
  const TrainedTokenizer trained = train_tokenizer(training);
  EXPECT_EQ(trained.alphabet_size, 3);
  EXPECT_FALSE(trained.tokenizer->token_to_id("q"));
  EXPECT_EQ(trained.tokenizer->decode(trained.tokenizer->encode("q"), false), "q");
}

TEST(TokenizerTrainer, SaysWhatIsWrongWithASetting) {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", "some text\n");
  const auto error = [&](const std::function<void(TokenizerTraining&)>& change) {
    TokenizerTraining training = training_on(file);
    change(training);
    return error_of([&] { train_tokenizer(training); }, core::ExitCode::kBadConfig);
  };
  const auto has = [](const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(error([](auto& t) { t.vocab_size = 255; }), {"--vocab-size is 255", "need 256", "raise it"});
  has(error([](auto& t) { t.pre_tokenizer = "gpt5"; }),
      {"--pre-tokenizer is gpt5", "llama3", "--split-pattern"});
  has(error([](auto& t) { t.normalizer = "nfc"; }), {"--normalizer is nfc", "NFKC"});
  has(error([](auto& t) { t.limit_alphabet = 9; }), {"--limit-alphabet", "sentencepiece"});
  has(error([](auto& t) { t.special_tokens = {"<s>", "<s>"}; }), {"<s>", "twice"});
  has(error([](auto& t) { t.special_tokens = {""}; }), {"--special-token is empty"});
}

TEST(TokenizerTrainer, SaysWhatIsWrongWithACorpus) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& name, const std::string& bytes) {
    return error_of([&] { train_tokenizer(training_on(folder.write(name, bytes))); });
  };
  const auto has = [](const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(error("empty.txt", ""), {"empty.txt", "no text"});
  has(error("bad.txt", "ab\xFFz\n"), {"bad.txt: line 1", "not valid UTF-8"});
  has(error("bad.jsonl", "{\"text\":\"a\"}\n{\"text\":\n"), {"bad.jsonl: line 2"});
  has(error("ids.jsonl", "{\"input_ids\":[1,2]}\n"), {"ids.jsonl: line 1", "token ids"});
  has(error("x.bin", "text"), {"x.bin", "known are .jsonl"});
  has(error_of([&] { train_tokenizer(training_on(folder.path("none.txt"))); }), {"none.txt", "no such file"});
  TokenizerTraining training = training_on(folder.write("ok.txt", "some text\n"));
  training.split_pattern = "(";
  has(error_of([&] { train_tokenizer(training); }), {"--split-pattern"});
}

}  // namespace
}  // namespace phalanx::data
