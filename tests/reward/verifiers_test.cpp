#include "reward/verifiers.h"

#include "data/task_records.h"
#include "reward/expression.h"
#include "reward_test_util.h"

namespace phalanx::reward {
namespace {

using test::refusal;
using test::score_one;

const std::string kSeven = R"({"prompt":"3 + 4?","ground_truth":"7"})";

TEST(ExactMatch, TakesTheWholeAnswerButSpaceAndAFullStop) {
  const TermOptions options{.name = "exact_match"};
  EXPECT_EQ(score_one(options, kSeven, " 7.\n"), 1.0);
  EXPECT_EQ(score_one(options, kSeven, "It is 7"), 0.0);
  EXPECT_EQ(score_one(options, R"({"prompt":"a"})", "7"), std::nullopt);
}

TEST(ExactMatch, TakesTheFirstGroupOfTheLastMatch) {
  const TermOptions options{.name = "exact_match", .pattern = "<answer>(.*?)</answer>"};
  EXPECT_EQ(score_one(options, kSeven, "<answer>6</answer> no,\n<answer> 7\n</answer>"), 1.0);
  EXPECT_EQ(score_one(options, kSeven, "<answer>7</answer> no, <answer>6</answer>"), 0.0);
  EXPECT_EQ(score_one(options, kSeven, "7"), 0.0) << "no match is a wrong answer";
  EXPECT_EQ(score_one(options, R"({"prompt":"a"})", "7"), std::nullopt);
  EXPECT_EQ(score_one({.name = "exact_match", .pattern = "()"}, kSeven, "\xC3\xA4\xE2\x82\xAC 7"), 0.0);
}

TEST(NumericMatch, TakesTheGroupOfAPattern) {
  const TermOptions options{.name = "numeric_match", .pattern = "#### *(.*)"};
  EXPECT_EQ(score_one(options, kSeven, "3 + 4, in 2 steps\n#### $7.00"), 1.0);
  EXPECT_EQ(score_one(options, kSeven, "7"), 0.0);
  EXPECT_EQ(score_one(options, R"({"prompt":"a","ground_truth":"many"})", "#### 7"), std::nullopt);
}

TEST(VerifierPattern, IsRefusedWithoutAGroupOrWithAMistake) {
  EXPECT_NE(refusal({.name = "exact_match", .pattern = "x+"}).find("exact_match: pattern: x+ has no group"),
            std::string::npos)
      << refusal({.name = "exact_match", .pattern = "x+"});
  EXPECT_NE(refusal({.name = "exact_match", .pattern = "(x"}).find("at byte 2"), std::string::npos)
      << refusal({.name = "exact_match", .pattern = "(x"});
}

TEST(VerifierPattern, ThatTakesTooLongLeavesTheAnswerUnjudged) {
  const std::string answer = std::string(40, 'a') + "b";
  EXPECT_EQ(score_one({.name = "exact_match", .pattern = "((a+)+)$"}, kSeven, answer), std::nullopt);
  EXPECT_EQ(score_one({.name = "format_match", .pattern = "(a+)+"}, kSeven, answer), std::nullopt);
}

struct ValueOf {
  std::string text;
  std::optional<Fraction> value;
};

TEST(ExpressionOfNumbers, HasTheUsualPrecedenceAndIsExact) {
  const std::vector<ValueOf> cases = {
      {"1 + 2 * 3", Fraction{7, 1}},
      {"(1 + 2) * 3", Fraction{9, 1}},
      {"8 - 3 - 2", Fraction{3, 1}},
      {"8/3/2", Fraction{4, 3}},
      {"1/3+1/6", Fraction{1, 2}},
      {"8 / (3 - 8/3)", Fraction{24, 1}},
      {"2 \u00D7 6 \u00F7 4 \u2212 5", Fraction{-2, 1}},
      {"((((7))))", Fraction{7, 1}},
      {"9223372036854775807", Fraction{INT64_MAX, 1}},
      {"9223372036854775807 + 1", std::nullopt},
      {"9223372036854775808", std::nullopt},
      {"9223372036854775807 * 9223372036854775807", std::nullopt},
      {"1 / 9223372036854775807 / 2", std::nullopt},
      {"1 / 0", std::nullopt},
      {"1 / (2 - 2)", std::nullopt},
      {"", std::nullopt},
      {"-1", std::nullopt},
      {"1 +", std::nullopt},
      {"1 2", std::nullopt},
      {"(1", std::nullopt},
      {"1)", std::nullopt},
      {"()", std::nullopt},
      {"1 ** 2", std::nullopt},
      {"1.5", std::nullopt},
      {"1e9", std::nullopt},
      {"__import__('os')", std::nullopt},
      {std::string("1\0", 2), std::nullopt},
      {"1\xC3", std::nullopt},
      {std::string(32, '(') + "1" + std::string(32, ')'), Fraction{1, 1}},
      {std::string(33, '(') + "1" + std::string(33, ')'), std::nullopt},
      {std::string(100000, '('), std::nullopt},
  };
  for (const ValueOf& c : cases) {
    const auto expression = parse_expression(c.text);
    EXPECT_EQ(expression.has_value(), c.value.has_value()) << c.text.substr(0, 80);
    if (expression && c.value) {
      EXPECT_EQ(expression->value, *c.value) << c.text;
    }
  }
  ASSERT_TRUE(parse_expression("3*(4+3)"));
  EXPECT_EQ(parse_expression("3*(4+3)")->numbers, (std::vector<int64_t>{3, 4, 3}));
  std::string ones = "1";
  for (int i = 0; i < 63; ++i) ones += "+1";
  ASSERT_TRUE(parse_expression(ones));
  EXPECT_EQ(parse_expression(ones)->value, (Fraction{64, 1}));
  EXPECT_FALSE(parse_expression(ones + "+1"));
}

TEST(Countdown, UsesEachNumberAtMostOnce) {
  const std::string record = R"({"prompt":"?","ground_truth":"24","numbers":[8,3,8,3]})";
  const TermOptions options{.name = "countdown"};
  EXPECT_EQ(score_one(options, record, "8 / (3 - 8 / 3)"), 1.0);
  EXPECT_EQ(score_one(options, record, "I think:\n\n3 * 8 = 24.\n"), 1.0);
  EXPECT_EQ(score_one(options, record, "3 * 3 + 8 + 8"), 0.0);
  EXPECT_EQ(score_one(options, record, "3 + 3 + 3 + 8"), 0.0) << "3 thrice";
  EXPECT_EQ(score_one(options, record, "24"), 0.0) << "not given";
  EXPECT_EQ(score_one(options, record, ""), 0.0);
  EXPECT_EQ(score_one({.name = "countdown", .pattern = "<answer>(.*?)</answer>"}, record,
                      "8 * 3? <answer>3 * 8</answer> yes"),
            1.0);
}

TEST(Countdown, ReadsTheFormsOfItsDataSets) {
  const TermOptions options{.name = "countdown"};
  for (const char* record :
       {R"({"prompt":"?","ground_truth":{"target":24,"numbers":[8,3]}})",
        R"({"prompt":"?","target":24,"nums":[8,3]})", R"({"prompt":"?","ground_truth":24,"nums":[8,3]})"})
    EXPECT_EQ(score_one(options, record, "8*3"), 1.0) << record;
  for (const char* record : {R"({"prompt":"?","ground_truth":"24"})", R"({"prompt":"?","numbers":[8,3]})",
                             R"({"prompt":"?","ground_truth":"2x","numbers":[8,3]})",
                             R"({"prompt":"?","ground_truth":"24","numbers":[8,"x"]})"})
    EXPECT_EQ(score_one(options, record, "8*3"), std::nullopt) << record;
}

/// Is there a way to join some of the numbers, two at a time, to the target?
bool can_reach(const std::vector<double>& numbers, double target) {
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (std::abs(numbers[i] - target) < 1e-6) return true;
    for (size_t j = 0; j < numbers.size(); ++j) {
      if (i == j) continue;
      std::vector<double> rest;
      for (size_t k = 0; k < numbers.size(); ++k) {
        if (k != i && k != j) rest.push_back(numbers[k]);
      }
      const double a = numbers[i], b = numbers[j];
      std::vector<double> joined = {a - b, a / b};
      if (i < j) joined.insert(joined.end(), {a + b, a * b});
      for (const double value : joined) {
        rest.push_back(value);
        if (can_reach(rest, target)) return true;
        rest.pop_back();
      }
    }
  }
  return false;
}

TEST(CountdownTask, HasAnAnswerForEveryQuestion) {
  const auto reader = data::open_task("task:countdown,count=50,difficulty=3,seed=7");
  data::RawRecord raw;
  int count = 0;
  while (reader->next(raw)) {
    const data::Record record = data::read_record(reader->parse(raw), "prompt");
    std::vector<double> numbers;
    for (const auto& item : record.fields.find("numbers")->items())
      numbers.push_back(static_cast<double>(item.integer()));
    EXPECT_EQ(numbers.size(), 4u);
    EXPECT_TRUE(can_reach(numbers, std::stod(record.ground_truth.text()))) << raw.text;
    ++count;
  }
  EXPECT_EQ(count, 50);
}

}  // namespace
}  // namespace phalanx::reward
