#include "reward/form_terms.h"

#include <limits>

#include "core/config.h"
#include "reward_test_util.h"

namespace phalanx::reward {
namespace {

using test::make_reward;
using test::refusal;
using test::score_one;
using test::scores_of;

const std::string kPromptOnly = R"({"prompt":"?"})";

TEST(FormatMatch, WantsTheWholeAnswer) {
  const TermOptions options{.name = "format_match", .pattern = "<think>.*</think>\\s*<answer>.*</answer>"};
  EXPECT_EQ(score_one(options, kPromptOnly, "<think>a\nb</think>\n<answer>c</answer>"), 1.0);
  EXPECT_EQ(score_one(options, kPromptOnly, "so: <think>a</think><answer>c</answer>"), 0.0);
  EXPECT_EQ(score_one(options, kPromptOnly, "<think>a</think><answer>c</answer>."), 0.0);
  EXPECT_EQ(score_one({.name = "format_match", .pattern = "a|ab"}, kPromptOnly, "ab"), 1.0);
  EXPECT_EQ(score_one({.name = "format_match", .pattern = ".*"}, kPromptOnly, "cut \xE2\x82"), 0.0);
  EXPECT_NE(refusal({.name = "format_match"}).find("format_match: pattern must be"), std::string::npos);
}

TEST(Length, FallsWithTheDistanceFromTheRange) {
  const TermOptions range{.name = "length", .min_tokens = 20, .max_tokens = 50};
  const std::vector<std::pair<int64_t, double>> cases = {{0, -1},    {5, -0.75}, {20, 0},   {50, 0},
                                                         {60, -0.2}, {100, -1},  {1000, -1}};
  for (const auto& [tokens, expected] : cases)
    EXPECT_DOUBLE_EQ(score_one(range, kPromptOnly, "", tokens).value(), expected) << tokens;
  const TermOptions target{.name = "length", .min_tokens = 40, .max_tokens = 40};
  EXPECT_DOUBLE_EQ(score_one(target, kPromptOnly, "", 30).value(), -0.25);
  EXPECT_DOUBLE_EQ(score_one(target, kPromptOnly, "", 50).value(), -0.25);
  EXPECT_DOUBLE_EQ(score_one({.name = "length", .min_tokens = 4}, kPromptOnly, "", 999).value(), 0);
  EXPECT_EQ(refusal({.name = "length"}), "reward.terms: length needs min_tokens, max_tokens or both");
  EXPECT_EQ(refusal({.name = "length", .min_tokens = 9, .max_tokens = 8}),
            "reward.terms: length: max_tokens is 8 but must be at least min_tokens = 9");
}

TEST(Overlong, IsTheSoftPunishmentOfDapo) {
  const TermOptions options{.name = "overlong", .max_tokens = 100, .cache_tokens = 20};
  const std::vector<std::pair<int64_t, double>> cases = {{0, 0},     {80, 0},   {81, -0.05},
                                                         {90, -0.5}, {100, -1}, {101, -1}};
  for (const auto& [tokens, expected] : cases)
    EXPECT_DOUBLE_EQ(score_one(options, kPromptOnly, "", tokens, 200).value(), expected) << tokens;
  EXPECT_DOUBLE_EQ(score_one({.name = "overlong", .cache_tokens = 20}, kPromptOnly, "", 190, 200).value(),
                   -0.5)
      << "L_max is what the sample was allowed";
  EXPECT_NE(refusal({.name = "overlong"}).find("needs cache_tokens"), std::string::npos);
  EXPECT_EQ(refusal({.name = "overlong", .max_tokens = 8, .cache_tokens = 9}),
            "reward.terms: overlong: cache_tokens is 9 but must be at most max_tokens = 8");
}

TEST(Repetition, IsTheShareOfNgramsThatCameBefore) {
  const auto score = [](const std::string& text, int64_t n) {
    return score_one({.name = "repetition", .ngram_size = n}, kPromptOnly, text).value();
  };
  EXPECT_DOUBLE_EQ(score("a b c d e", 3), 0);
  EXPECT_DOUBLE_EQ(score("a b", 3), 0);
  EXPECT_DOUBLE_EQ(score("", 1), 0);
  EXPECT_DOUBLE_EQ(score("the The\nTHE the", 1), -0.75);
  EXPECT_DOUBLE_EQ(score("a b a b a b", 2), -0.6);  // ab ba ab ba ab: 2 of 5
}

TEST(WeightedRewards, AddUpWhatCouldBeJudged) {
  WeightedRewards rewards({{"exact_match", 2, make_reward({.name = "exact_match"})},
                           {"format_match", 0.5, make_reward({.name = "format_match", .pattern = "\\d+"})},
                           {"format_match", 0.25, make_reward({.name = "format_match", .pattern = ".*"})}});
  test::Samples samples;
  samples.add(R"({"prompt":"?","ground_truth":"7"})", "7").add(kPromptOnly, "x");
  const Scores scores = rewards.score(samples);
  EXPECT_EQ(scores.names, (std::vector<std::string>{"exact_match", "format_match", "format_match_2"}));
  EXPECT_EQ(scores.totals, (std::vector<Score>{2.75, 0.25}));
  EXPECT_EQ(scores_of(scores.terms[0]), (std::vector<Score>{1.0, std::nullopt}));
}

/// Fails on answers of "x" until it has been asked twice.
class SlowToAnswer : public Reward {
 public:
  std::vector<Judgement> score(std::span<const Sample> samples) override {
    std::vector<Judgement> judgements;
    ++calls;
    for (const Sample& sample : samples) {
      asked.push_back(sample.completion);
      const bool fails = sample.completion == "x" && calls < 3;
      judgements.push_back(fails ? Judgement{std::nullopt, "busy"} : Judgement{1.0, {}});
    }
    return judgements;
  }
  int calls = 0;
  std::vector<std::string> asked;
};

TEST(WeightedRewards, AskAgainAboutWhatFailedAlone) {
  const auto slow = std::make_shared<SlowToAnswer>();
  WeightedRewards rewards({{"exact_match", 1, make_reward({.name = "exact_match"})}, {"slow", 2, slow}});
  test::Samples samples;
  samples.add(kPromptOnly, "x").add(R"({"prompt":"?","ground_truth":"y"})", "y");
  Scores scores = rewards.score(samples);
  EXPECT_EQ(scores.totals, (std::vector<Score>{std::nullopt, 3.0}));
  EXPECT_EQ(scores.num_failed(), 1);
  EXPECT_EQ(scores.problems(),
            std::vector<std::string>{"reward.terms: slow: 1 of 2 answers have no score; the first: busy"});
  rewards.ask_again(scores, samples);
  EXPECT_EQ(scores.num_failed(), 1);
  rewards.ask_again(scores, samples);
  EXPECT_EQ(scores.num_failed(), 0);
  EXPECT_EQ(scores.totals, (std::vector<Score>{2.0, 3.0}));
  EXPECT_EQ(slow->asked, (std::vector<std::string>{"x", "y", "x", "x"}));
}

TEST(WeightedRewards, TakeNoNumberThatIsNotFinite) {
  class Infinite : public Reward {
    std::vector<Judgement> score(std::span<const Sample> samples) override {
      return std::vector<Judgement>(samples.size(), {std::numeric_limits<double>::infinity(), {}});
    }
  };
  WeightedRewards rewards({{"infinite", 1, std::make_shared<Infinite>()}});
  test::Samples samples;
  samples.add(kPromptOnly, "x");
  const Scores scores = rewards.score(samples);
  EXPECT_EQ(scores.totals[0], std::nullopt);
  EXPECT_EQ(scores.terms[0][0].problem, "its score is inf");
}

std::string config_refusal(const std::string& terms) {
  try {
    core::Config::parse("reward: {terms: [" + terms + "]}", "run.yaml");
  } catch (const core::ConfigErrors& errors) {
    return errors.what();
  }
  return "no error";
}

TEST(RewardTerms, OfAResolvedConfigAreReadAgain) {
  const core::Config config = core::Config::parse(
      "reward:\n  terms:\n  - {name: numeric_match, pattern: \"#### (.*)\"}\n  - {name: overlong, "
      "cache_tokens: 20}\n"
      "  - {name: judge, urls: \"http://localhost:1/v1\", model: m, prompt: \"{completion}\", range: [0, "
      "1]}\n",
      "run.yaml");
  const core::Config again =
      core::Config::parse(config.print(/*with_origins=*/false), "config.resolved.yaml");
  EXPECT_EQ(again.print(false), config.print(false));
}

TEST(RewardTerms, RefuseKeysThatTheirTermDoesNotRead) {
  EXPECT_EQ(config_refusal("{name: length, max_tokens: 5}, {name: numeric_match}"), "no error");
  EXPECT_NE(
      config_refusal("{name: length, max_tokens: 5}, {name: numeric_match, max_tokens: 5}")
          .find("reward.terms.1.max_tokens means nothing to numeric_match, which knows weight, pattern"),
      std::string::npos)
      << config_refusal("{name: length, max_tokens: 5}, {name: numeric_match, max_tokens: 5}");
  EXPECT_NE(config_refusal("{name: lenght, max_tokens: 5}").find("lenght"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::reward
