// Methods that learn from answers they sample, through the whole program.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;
using Sets = std::vector<std::string>;

class OnlineRun : public testing::Test {
 protected:
  OnlineRun() {
    place_.write("tiny.yaml", R"(run:     {output_dir: run, seed: 3}
model:   {family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
          num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}
data:    {train: [{path: prompts.jsonl}]}
method:  {name: grpo, num_generations: 2, max_completion_length: 6}
optimizer: {learning_rate: 1.0e-2}
schedule: {name: constant}
train:   {max_steps: 3, global_batch_size: 8, micro_batch_size: 2, precision: fp64}
checkpoint: {save_final: false}
)");
    std::string prompts;
    for (int i = 0; i < 40; ++i)
      prompts += fmt::format("{{\"prompt\":[{{\"role\":\"user\",\"content\":\"{} + {}\"}}]}}\n", i, i % 7);
    place_.write("prompts.jsonl", prompts);
  }

  std::vector<std::string> arguments(const std::string& folder, const Sets& sets) const {
    std::vector<std::string> words = {"train", "tiny.yaml",    "--set", "run.output_dir=" + folder,
                                      "--set", "run.threads=1"};
    for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
    return words;
  }
  Outcome train(const std::string& folder, const Sets& sets) const {
    return place_.run(arguments(folder, sets));
  }

  /// The groups of a generation in the run's ledger.
  std::vector<nlohmann::json> groups(const std::string& folder, int number) const {
    std::istringstream lines(place_.read(fmt::format("{}/rollouts/generation_{:06}.jsonl", folder, number)));
    std::vector<nlohmann::json> groups;
    std::string line;
    std::getline(lines, line);  // whose answers these are
    while (std::getline(lines, line)) groups.push_back(nlohmann::json::parse(line));
    return groups;
  }

  Workplace place_;
};

TEST_F(OnlineRun, RewardModelsJudgeOnAnyMesh) {
  for (const char* name : {"reward", "adapter"}) {
    const bool is_adapter = std::string(name) == "adapter";
    std::string pairs;
    for (int i = 0; i < 8; ++i)
      pairs += fmt::format("{{\"prompt\":\"{} + 1\",\"chosen\":\"{}\",\"rejected\":\"none\"}}\n", i, i + 1);
    place_.write("pairs.jsonl", pairs);
    Sets sets = {"method=null", "method.name=reward", "data.train=[{path: pairs.jsonl}]",
                 "checkpoint.save_final=true"};
    if (is_adapter) {
      ASSERT_EQ(train("base", {"method=null", "method.name=dpo", "data.train=[{path: pairs.jsonl}]",
                               "checkpoint.save_final=true", "train.max_steps=1"})
                    .exit_code,
                0);
      sets.insert(sets.end(), {"model=null", "model.path=base/final", "lora.r=4"});
    }
    const Outcome outcome = train(name, sets);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  const std::string terms =
      "reward.terms=[{name: reward_model, path: reward/final, weight: 2},"
      "{name: reward_model, path: adapter/final}]";
  std::vector<double> expected;
  const std::vector<std::string> names = {"reward", "rewards/reward_model/std", "rewards/reward_model_2/mean",
                                          "entropy", "loss"};
  for (const Sets& mesh : {Sets{}, Sets{"parallel.dp=2", "parallel.zero_stage=3"}, Sets{"parallel.tp=2"}}) {
    Sets sets = {terms};
    sets.insert(sets.end(), mesh.begin(), mesh.end());
    const Outcome outcome = train("judged", sets);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("reward_model: reward/final, reads the ids"), std::string::npos)
        << outcome.err;
    const std::vector<double> found = test::metrics(place_, "judged", names);
    ASSERT_EQ(found.size(), 15U);
    if (expected.empty()) expected = found;
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], 1e-9) << nlohmann::json(mesh).dump();
    std::filesystem::remove_all(place_.path("judged"));
  }
  const Outcome refused = train("refused", {"reward.terms=[{name: reward_model, path: base/final}]"});
  EXPECT_EQ(refused.exit_code, 78);
  EXPECT_NE(refused.err.find("no score.weight"), std::string::npos) << refused.err;
}

TEST_F(OnlineRun, DynamicSamplingReplacesGroupsThatTeachNothing) {
  const Sets common = {"reward.terms=[{name: format_match, pattern: \".*[a-f].*\"}]",
                       "method.dynamic_sampling=true", "checkpoint.every_steps=1"};
  const auto with = [&](Sets more) {
    more.insert(more.begin(), common.begin(), common.end());
    return more;
  };
  ASSERT_EQ(train("whole", with({})).exit_code, 0);
  std::vector<int64_t> places;
  for (int number = 0; number < 3; ++number) {
    for (const nlohmann::json& group : groups("whole", number)) {
      places.push_back(group["place"]);
      EXPECT_NE(group["rewards"][0], group["rewards"][1]) << group.dump();
    }
  }
  ASSERT_EQ(places.size(), 12U);
  EXPECT_TRUE(std::is_sorted(places.begin(), places.end()));
  EXPECT_GT(places.back(), 12) << "nothing was replaced";
  const std::vector<double> drawn = test::metrics(place_, "whole", {"dynamic_sampling/num_prompts"});
  EXPECT_EQ(drawn[0] + drawn[1] + drawn[2], static_cast<double>(places.back()) + 1);
  EXPECT_EQ(test::metrics(place_, "whole", {"frac_reward_zero_std"}), (std::vector<double>{0, 0, 0}));

  ASSERT_EQ(train("spread", with({"parallel.dp=2"})).exit_code, 0);
  ASSERT_EQ(train("halves", with({"train.max_steps=2"})).exit_code, 0);
  std::filesystem::remove_all(place_.path("halves/rollouts"));
  ASSERT_EQ(train("halves", with({})).exit_code, 0);
  for (const char* name : {"spread", "halves"}) {
    const auto of_whole = groups("whole", 2), of_other = groups(name, 2);
    for (size_t g = 0; g < of_whole.size(); ++g) {
      EXPECT_EQ(of_other[g]["place"], of_whole[g]["place"]) << name;
      EXPECT_EQ(of_other[g]["completion_ids"], of_whole[g]["completion_ids"]) << name;
    }
  }
}

TEST_F(OnlineRun, DynamicSamplingKeepsWhatComesAfterTheLastRound) {
  const Outcome outcome =
      train("same", {"reward.terms=[{name: exact_match}, {name: format_match, pattern: \".*\"}]",
                     "method.dynamic_sampling=true", "method.max_resampling=2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(test::metrics(place_, "same", {"dynamic_sampling/num_replaced"}), (std::vector<double>{8, 8, 8}));
  for (const char* set : {"method.num_generations=1", "method.rollouts=recorded.jsonl"}) {
    const Outcome refused = train("refused", {"method.dynamic_sampling=true", set});
    EXPECT_EQ(refused.exit_code, 78);
    EXPECT_NE(refused.err.find("method.dynamic_sampling"), std::string::npos) << refused.err;
  }
}

/// A program that fails until the file "up" is there.
class Outage : public OnlineRun {
 protected:
  Outage() {
    place_.write("check.py", fmt::format(R"(import json, os, sys
if not os.path.exists("{}"): sys.exit("out of order")
for line in sys.stdin:
    sample = json.loads(line)
    print(json.dumps({{"id": sample["id"], "reward": len(sample["completion"]) % 3}}))
)",
                                         place_.path("up")));
  }
  Sets sets(const std::string& max_outage_s) const {
    return {
        fmt::format("reward.terms=[{{name: program, sandbox: none, samples_per_run: 100, command: [python3, "
                    "-S, {}]}}]",
                    place_.path("check.py")),
        "reward.max_outage_s=" + max_outage_s};
  }
  void expect_whole_run() const {
    EXPECT_EQ(test::metrics(place_, "run", {"reward"}).size(), 3U);
    EXPECT_EQ(place_.read("run/metrics.jsonl").find("null"), std::string::npos);
  }
};

TEST_F(Outage, ThatLastsEndsTheRunWhichGoesOnLater) {
  for (const char* mesh : {"parallel.dp=1", "parallel.dp=2"}) {
    Sets sets = this->sets("1.2");
    sets.emplace_back(mesh);
    const Outcome outcome = train("run", sets);
    EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
    EXPECT_NE(outcome.err.find("8 of 8 answers could not be judged"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("given up after"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("out of order"), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(place_.path("run/checkpoints/step_0"))) << "nothing was learned yet";
  }
  place_.write("up", "");
  const Outcome outcome = train("run", sets("1.2"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  expect_whole_run();
}

TEST_F(Outage, ThatEndsIsWaitedFor) {
  std::vector<std::string> words = {"sh", "-c", "(sleep 3; touch up) & exec \"$@\"", "sh", PHALANX_PROGRAM};
  for (const std::string& word : arguments("run", sets("60"))) words.push_back(word);
  const Outcome outcome = place_.run_command(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("asking again in 2.0 s"), std::string::npos) << outcome.err;
  expect_whole_run();
}

TEST_F(Outage, LetsAStopSignalThrough) {
  std::vector<std::string> words = {"timeout", "--preserve-status", "--signal=TERM", "4", PHALANX_PROGRAM};
  for (const std::string& word : arguments("run", sets("600"))) words.push_back(word);
  const Outcome outcome = place_.run_command(words);
  EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
  EXPECT_NE(outcome.err.find("stopped after step 0"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace phalanx::launch
