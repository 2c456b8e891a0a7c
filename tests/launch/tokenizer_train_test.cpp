// `phalanx tokenizer train`, as a user runs it. (What it learns: tests/data/tokenizer_trainer_test.cpp.)
#include <gtest/gtest.h>

#include <algorithm>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;

std::string small_corpus() {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "the theory of the other thing, the three things there\n";
  return text;
}

TEST(TokenizerTrain, WritesAFolderThatOtherCommandsTake) {
  const Workplace place;
  place.write("corpus.txt", small_corpus());
  const Outcome trained =
      place.run({"tokenizer", "train", "corpus.txt", "--output", "made/tokenizer", "--vocab-size", "270",
                 "--special-token", "<|im_end|>", "--eos-token", "<|im_end|>"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_NE(trained.out.find("50 texts"), std::string::npos) << trained.out;
  EXPECT_NE(trained.out.find("270 tokens: 1 special, 256 of the alphabet, 13 merges"), std::string::npos)
      << trained.out;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "verification.json"})
    EXPECT_FALSE(place.read(std::string("made/tokenizer/") + name).empty()) << name;
  const Outcome ids = place.run({"tokenize", "made/tokenizer"}, "{\"text\":\"the<|im_end|>\"}\n");
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_NE(ids.out.find(",0],"), std::string::npos) << ids.out;
}

TEST(TokenizerTrain, SaysWhenTheCorpusHasNotEnoughPairs) {
  const Workplace place;
  place.write("corpus.txt", small_corpus());
  const Outcome trained =
      place.run({"tokenizer", "train", "corpus.txt", "-o", "made", "--min-frequency", "5000"});
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_NE(trained.err.find("256 tokens instead of --vocab-size 32000"), std::string::npos) << trained.err;
}

TEST(TokenizerTrain, LeavesNothingBehindAnErrorAndOverwritesNothing) {
  const Workplace place;
  place.write("corpus.txt", small_corpus());
  place.write("bad.txt", "ab\xFF\n");
  place.write("made/mine.txt", "mine");
  const auto error = [&](std::vector<std::string> more, int exit_code) {
    more.insert(more.begin(), {"tokenizer", "train"});
    const Outcome outcome = place.run(more);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    return outcome.err;
  };
  EXPECT_NE(error({"corpus.txt", "-o", "made"}, 65).find("made: already exists"), std::string::npos);
  EXPECT_NE(error({"corpus.txt", "bad.txt", "-o", "new"}, 65).find("bad.txt: line 1"), std::string::npos);
  EXPECT_NE(error({"none.txt", "-o", "new"}, 65).find("no such file"), std::string::npos);
  EXPECT_NE(error({"corpus.txt", "-o", "new", "--vocab-size", "20"}, 78).find("--vocab-size is 20"),
            std::string::npos);
  EXPECT_NE(error({"corpus.txt", "-o", "new", "--vocab-size", "-3"}, 78).find("--vocab-size"),
            std::string::npos);
  EXPECT_NE(error({"corpus.txt"}, 78).find("--output"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(place.path("new")));
  EXPECT_FALSE(std::filesystem::exists(place.path(".new.unverified")));
  EXPECT_EQ(place.read("made/mine.txt"), "mine");
}

}  // namespace
}  // namespace phalanx::launch
