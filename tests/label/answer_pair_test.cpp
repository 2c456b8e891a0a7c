#include "label/answer_pair.h"

#include "label/answer_edit.h"
#include "label/label_test_util.h"
#include "label/question_order.h"

namespace phalanx::label {
namespace {

using test::contains;
using test::error_of;

class AnswerPairs : public testing::Test {
 protected:
  PairFile read(const std::string& text, PairOptions options = {}, const std::string& name = "data.jsonl") {
    return read_pairs(folder.write(name, text), options);
  }
  test::Folder folder;
};

TEST_F(AnswerPairs, PreferencesOfEveryKindAreQuestions) {
  const PairFile file = read(
      R"({"prompt": "p", "chosen": "a", "rejected": "b"}
{"chosen": "Sky is blue", "rejected": "Sky is red"}
{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "x"}], "rejected": [{"role": "assistant", "content": "y"}]}
{"instruction": "do", "chosen": "c", "rejected": "d"}
)");
  ASSERT_EQ(file.pairs.size(), 4u);
  EXPECT_EQ(file.pairs[0].answers[0], "a");
  EXPECT_EQ(file.pairs[1].prompt, "Sky is");
  EXPECT_EQ(file.pairs[2].prompt[0]["content"], "u");
  EXPECT_EQ(file.pairs[2].answers[1][0]["content"], "y");
  EXPECT_EQ(file.pairs[3].prompt[0]["role"], "user");
  EXPECT_EQ(file.pairs[0].id.size(), 32u);
}

TEST_F(AnswerPairs, EveryTwoCompletionsAreAQuestion) {
  const PairFile file = read(
      R"({"prompt": "p", "completions": ["a", "b", "c", "b"]}
{"messages": [{"role": "user", "content": "u"}], "completions": ["a", {"role": "assistant", "content": "z"}]}
)");
  EXPECT_EQ(file.pairs.size(), 4u);  // ab ac bc + the second record
  EXPECT_EQ(file.num_equal, 1);      // b b
  EXPECT_EQ(file.num_repeated, 2);   // ab again, and bc the other way round
  EXPECT_EQ(file.num_records, 2);
}

TEST_F(AnswerPairs, TwoFieldsMayHoldTheAnswers) {
  PairOptions options;
  options.answer_fields = {"model_a", "model_b"};
  options.prompt_field = "question";
  const PairFile file = read("question,model_a,model_b\nq,\"x,1\",y\n", options, "data.csv");
  ASSERT_EQ(file.pairs.size(), 1u);
  EXPECT_EQ(file.pairs[0].prompt, "q");
  EXPECT_EQ(file.pairs[0].answers[0], "x,1");
  EXPECT_TRUE(contains(error_of([&] { read("question,model_a\nq,x\n", options, "bad.csv"); }), "model_b"));
}

TEST_F(AnswerPairs, IdsDependOnContentAlone) {
  const PairFile one = read(R"({"prompt": "p", "chosen": "a", "rejected": "b", "source": 1})"
                            "\n");
  const PairFile two = read(
      R"({"prompt": "q", "chosen": "a", "rejected": "b"}
{"rejected": "b", "chosen": "a", "prompt": "p"}
)");
  EXPECT_EQ(one.pairs[0].id, two.pairs[1].id);
  EXPECT_NE(one.pairs[0].id, two.pairs[0].id);
}

TEST_F(AnswerPairs, WrongRecordsNameTheirPlaceAndTheWayOut) {
  EXPECT_TRUE(contains(error_of([&] { read_pairs(folder.path("no.jsonl"), {}); }), "no.jsonl"));
  EXPECT_TRUE(contains(error_of([&] { read(""); }), "holds no record"));
  EXPECT_TRUE(
      contains(error_of([&] { read("{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n{bad\n"); }),
               "line 2 (byte 48)"));
  const std::string text = error_of([&] { read(R"({"text": "t"})"); });
  EXPECT_TRUE(contains(text, "has no two answers")) << text;
  EXPECT_TRUE(contains(text, "--answers")) << text;
  EXPECT_TRUE(contains(error_of([&] { read(R"({"prompt": "p", "completions": ["a"]})"); }), "at least 2"));
  EXPECT_TRUE(contains(error_of([&] { read(R"({"completions": ["a", "b"]})"); }), "--prompt"));
  EXPECT_TRUE(contains(error_of([&] { read(R"({"prompt": "p", "completions": ["a", "a"]})"); }),
                       "nothing to choose"));
}

TEST_F(AnswerPairs, MarginsComeFromNumbersOrScores) {
  PairOptions options;
  options.needs_margin = true;
  const PairFile file = read(
      R"({"prompt": "1", "chosen": "a", "rejected": "b", "margin": -0.5}
{"prompt": "2", "chosen": "a", "rejected": "b", "scores": [1, 3]}
{"prompt": "3", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1.75}
{"prompt": "4", "completions": ["a", "b", "c"], "scores": [1, 1.125, 9]}
)",
      options);
  std::vector<double> margins;
  for (const AnswerPair& pair : file.pairs) margins.push_back(*pair.margin);
  EXPECT_EQ(margins, (std::vector<double>{-0.5, -2, 0.25, -0.125, -8, -7.875}));
  OrderOptions order;
  order.order = "uncertain";
  EXPECT_EQ(question_order(file.pairs, "ann", order), (std::vector<size_t>{3, 2, 0, 1, 5, 4}));

  EXPECT_TRUE(contains(error_of([&] { read(R"({"prompt": "1", "chosen": "a", "rejected": "b"})", options); }),
                       "--score names another"));
  EXPECT_TRUE(contains(
      error_of([&] { read(R"({"prompt": "1", "chosen": "a", "rejected": "b", "margin": "x"})", options); }),
      "must be a number"));
  EXPECT_TRUE(contains(
      error_of([&] { read(R"({"prompt": "1", "chosen": "a", "rejected": "b", "scores": [1]})", options); }),
      "1 scores for 2 answers"));
  options.score_field = "rm";
  EXPECT_EQ(*read("prompt,chosen,rejected,rm\np,a,b,0.25\n", options, "rm.csv").pairs[0].margin, 0.25);
}

TEST_F(AnswerPairs, OrderAndSidesAreFunctionsOfSeedAndLabeller) {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += fmt::format("{{\"prompt\": \"{}\", \"chosen\": \"a\", \"rejected\": \"b\"}}\n", i);
  const PairFile file = read(text);
  OrderOptions order;
  EXPECT_EQ(question_order(file.pairs, "ann", order)[7], 7u);
  order.order = "random";
  const auto ann = question_order(file.pairs, "ann", order);
  EXPECT_EQ(ann, question_order(file.pairs, "ann", order));
  EXPECT_NE(ann, question_order(file.pairs, "bob", order));
  auto sorted = ann;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted[399], 399u);
  int left = 0, same = 0;
  for (const AnswerPair& pair : file.pairs) {
    left += is_first_left(pair.id, "ann", 0);
    same += is_first_left(pair.id, "ann", 0) == is_first_left(pair.id, "bob", 0);
  }
  EXPECT_NEAR(left, 200, 60);  // 6 standard deviations
  EXPECT_NEAR(same, 200, 60);
}

TEST_F(AnswerPairs, EditsReplaceTheTextOfTheChosenAnswer) {
  const AnswerPair texts = read(R"({"prompt": "p", "chosen": "a", "rejected": "b"})").pairs[0];
  core::Json row = preference_row(texts, 1, "better", "ann", 2.5, "now");
  EXPECT_EQ(row["chosen"], "better");
  EXPECT_EQ(row["rejected"], "a");
  EXPECT_EQ(row["original"], "b");
  EXPECT_EQ(row["edited"], true);
  EXPECT_FALSE(preference_row(texts, 0, "a", "ann", 2.5, "now").contains("edited")) << "nothing was changed";
  EXPECT_TRUE(contains(error_of([&] { preference_row(texts, 0, " \n", "ann", 1, "now"); }), "empty"));
  EXPECT_TRUE(contains(error_of([&] { preference_row(texts, 0, "b", "ann", 1, "now"); }), "same"));

  const AnswerPair chat =
      read(
          R"({"prompt": [{"role": "user", "content": "u"}], "tools": [{"name": "f"}], "chosen": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "four"}], "rejected": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "g"}}]}]})")
          .pairs[0];
  row = preference_row(chat, 0, "4", "ann", 1, "now");
  EXPECT_EQ(row["chosen"][2]["content"], "4");
  EXPECT_EQ(row["tools"][0]["name"], "f");
  EXPECT_FALSE(editable_text(chat.answers[1]));
  EXPECT_TRUE(contains(to_view(chat.answers[1])[0]["calls"].get<std::string>(), "\"g\""));
  EXPECT_EQ(to_view(chat.prompt)[0]["text"], "u");
}

}  // namespace
}  // namespace phalanx::label
