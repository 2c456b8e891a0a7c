#include "label/pair_scores.h"

#include "label/label_test_util.h"
#include "label/question_order.h"

namespace phalanx::label {
namespace {

class PairScores : public testing::Test {
 protected:
  PairScores() {
    std::string text;
    for (const char* chosen : {"aaaaaaaa", "aaa", "a", "aaaaa"})
      text += fmt::format("{{\"prompt\": \"p\", \"chosen\": \"{}\", \"rejected\": \"bbbb\"}}\n", chosen);
    pairs = read_pairs(folder.write("data.jsonl", text), {}).pairs;
  }

  /// Longer answers are better: margins 4, -1, -3, 1.
  Judge by_length(const std::string& id = "one") {
    return {id, [this](const std::vector<const AnswerPair*>& asked) {
              std::vector<double> margins;
              for (const AnswerPair* pair : asked) {
                const auto length = [&](int i) { return double(pair->answers[i].get<std::string>().size()); };
                margins.push_back(length(0) - length(1));
              }
              num_asked += asked.size();
              return margins;
            }};
  }

  test::Folder folder;
  std::vector<AnswerPair> pairs;
  size_t num_asked = 0;
};

TEST_F(PairScores, ThoseWhereTheJudgeIsLeastSureComeFirst) {
  EXPECT_EQ(score_pairs(pairs, by_length(), folder.path("scores")), 4U);
  EXPECT_EQ(question_order(pairs, "ann", {.order = "uncertain"}), (std::vector<size_t>{1, 3, 2, 0}));
}

TEST_F(PairScores, WhatTheJudgeHasSaidIsNotAskedAgain) {
  std::vector<AnswerPair> some(pairs.begin(), pairs.begin() + 2);
  EXPECT_EQ(score_pairs(some, by_length(), folder.path("scores")), 2U);
  EXPECT_EQ(score_pairs(pairs, by_length(), folder.path("scores")), 2U) << "the file has grown";
  EXPECT_EQ(score_pairs(pairs, by_length(), folder.path("scores")), 0U);
  EXPECT_EQ(pairs[2].margin, -3.0);
  EXPECT_EQ(score_pairs(pairs, by_length("two"), folder.path("scores")), 4U) << "another judge";
  for (const char* damaged :
       {"", "{}", "[1]", R"({"format": "phalanx-label-scores-1", "judge": "two", "margins": 3})"}) {
    folder.write("scores", damaged);
    EXPECT_EQ(score_pairs(pairs, by_length("two"), folder.path("scores")), 4U) << damaged;
  }
}

TEST_F(PairScores, AMarginThatIsNoNumberIsAnError) {
  const Judge broken = {"b", [](const auto& asked) { return std::vector<double>(asked.size(), 0.0 / 0.0); }};
  EXPECT_TRUE(test::contains(test::error_of([&] { score_pairs(pairs, broken, folder.path("scores")); }),
                             "is not a finite number"));
}

}  // namespace
}  // namespace phalanx::label
