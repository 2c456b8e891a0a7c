// Commands that ask a model for answers run over as many ranks as `parallel` says.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;
using Words = std::vector<std::string>;

const std::vector<Words> kAnswerMeshes = {{"parallel.tp=2"},
                                          {"parallel.pp=2"},
                                          {"parallel.dp=2", "parallel.zero_stage=3"},
                                          {"parallel.cp=2"},
                                          {"parallel.tp=2", "parallel.pp=2"}};

void train_full_run(const Workplace& place) {
  place.write("tiny.yaml", test::tiny_config());
  const Outcome outcome = place.run({"train", "tiny.yaml", "--set", "run.output_dir=full", "--set",
                                     "model.dtype=fp32", "--set", "train.micro_batch_size=2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
}

std::string answer_of(const Workplace& place, Words words, const Words& sets, const std::string& input) {
  for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
  words.insert(words.end(), {"--set", "train.precision=fp32"});
  const Outcome outcome = place.run(words, input);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.out;
}

std::vector<nlohmann::json> rows_of(const std::string& text) {
  std::vector<nlohmann::json> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

TEST(SpreadModel, GeneratesTheSameTextOnEveryMesh) {
  const Workplace place;
  train_full_run(place);
  const std::string input =
      "{\"prompt\": \"alpha beta\"}\n{\"prompt\": \"gamma\"}\n{\"prompt\": \"a b c\"}\n";
  const Words words = {"generate", "full", "--max-new-tokens", "8", "--ignore-eos"};
  const auto expected = rows_of(answer_of(place, words, {}, input));
  ASSERT_EQ(expected.size(), 3U);
  for (const Words& mesh : kAnswerMeshes) {
    const auto actual = rows_of(answer_of(place, words, mesh, input));
    ASSERT_EQ(actual.size(), 3U) << mesh.front();
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(actual[i].at("ids"), expected[i].at("ids")) << mesh.front();
  }
}

TEST(SpreadModel, TalksOverSeveralRanks) {
  const Workplace place;
  train_full_run(place);
  const Words words = {"chat", "full", "--max-new-tokens", "6"};
  const std::string expected = answer_of(place, words, {}, "alpha\nbeta\n\n");
  EXPECT_FALSE(expected.empty());
  for (const Words& mesh : kAnswerMeshes)
    EXPECT_EQ(answer_of(place, words, mesh, "alpha\nbeta\n\n"), expected) << mesh.front();
}

TEST(SpreadModel, EvaluatesToTheSameLossOnEveryMesh) {
  const Workplace place;
  train_full_run(place);
  const Words words = {"eval", "full", "tiny.yaml"};
  const auto expected = rows_of(answer_of(place, words, {}, ""));
  for (const Words& mesh : kAnswerMeshes) {
    const auto actual = rows_of(answer_of(place, words, mesh, ""));
    EXPECT_NEAR(actual.at(0).at("eval_loss").get<double>(), expected.at(0).at("eval_loss").get<double>(),
                1e-5);
    EXPECT_EQ(actual.at(0).at("eval_target_tokens"), expected.at(0).at("eval_target_tokens"));
  }
}

TEST(SpreadModel, RefusesAMeshThatDoesNotFit) {
  const Workplace place;
  train_full_run(place);
  const Outcome outcome = place.run({"generate", "full", "--set", "parallel.pp=3"}, "{\"prompt\": \"a\"}\n");
  EXPECT_EQ(outcome.exit_code, 78) << outcome.err;
  EXPECT_NE(outcome.err.find("num_hidden_layers = 2"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace phalanx::launch
