// PPO through the whole program.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;
using Sets = std::vector<std::string>;

/// A tiny model answers with four tokens; an answer with an "e" is a good one.
class PpoRun : public testing::Test {
 protected:
  PpoRun() {
    std::string prompts;
    for (int i = 0; i < 32; ++i) prompts += fmt::format("{{\"prompt\": \"{} + {}\"}}\n", i, i % 7);
    place_.write("prompts.jsonl", prompts);
    place_.write("ppo.yaml", R"(run:       {name: tiny, output_dir: run, seed: 3, threads: 1}
model:     {family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
            num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}
data:      {train: [{path: prompts.jsonl}]}
method:    {name: ppo, max_completion_length: 4, num_iterations: 2, beta: 0.01}
reward:    {terms: [{name: format_match, pattern: "(?s).*e.*"}]}
optimizer: {learning_rate: 5.0e-3}
schedule:  {name: constant}
train:     {max_steps: 6, global_batch_size: 16, micro_batch_size: 8, precision: fp32}
)");
  }

  Outcome train(const std::string& folder, const Sets& sets = {}) const {
    Sets arguments = {"train", "ppo.yaml", "--set", "run.output_dir=" + folder};
    for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
    return place_.run(arguments);
  }

  void expect_refusal(const Sets& sets, const Sets& parts) const {
    const Outcome outcome = train("refused", sets);
    EXPECT_EQ(outcome.exit_code, 78) << outcome.err;
    for (const std::string& part : parts)
      EXPECT_NE(outcome.err.find(part), std::string::npos) << "no " << part << " in: " << outcome.err;
  }

  /// Six steps, and the same run set back to a checkpoint after three, in the middle of its second
  /// generation: it learns from that one as it was written down, and samples the third one again.
  void expect_resumed_bits(Sets sets) const {
    namespace fs = std::filesystem;
    sets.insert(sets.end(), {"checkpoint.every_steps=1", "checkpoint.keep_last=9"});
    ASSERT_EQ(train("whole", sets).exit_code, 0);
    fs::copy(place_.path("whole"), place_.path("halves"), fs::copy_options::recursive);
    for (const char* later : {"checkpoints/step_4", "checkpoints/step_5", "checkpoints/step_6", "final",
                              "rollouts/generation_000002.jsonl"})
      ASSERT_GT(fs::remove_all(place_.path("halves") + "/" + later), 0U) << later;
    const Outcome outcome = train("halves", sets);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("after step 3"), std::string::npos) << outcome.err;
    const Sets keys = {"loss", "grad_norm", "objective/kl_coef", "reward", "loss/value_avg"};
    const std::vector<double> expected = test::metrics(place_, "whole", keys);
    EXPECT_EQ(expected.size(), 6 * keys.size());
    EXPECT_EQ(test::metrics(place_, "halves", keys), expected);
    EXPECT_EQ(place_.read("halves/final/model.safetensors"), place_.read("whole/final/model.safetensors"));
  }

  Workplace place_;
};

double mean(const std::vector<double>& values, size_t begin, size_t end) {
  const auto at = [&](size_t i) { return values.begin() + static_cast<std::ptrdiff_t>(i); };
  return std::accumulate(at(begin), at(end), 0.0) / static_cast<double>(end - begin);
}

TEST_F(PpoRun, LearnsWhatIsRewardedOnTwoRanks) {
  const Outcome outcome = train("learned", {"train.max_steps=60", "parallel.dp=2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<double> rewards = test::metrics(place_, "learned", {"reward"});
  ASSERT_EQ(rewards.size(), 60U);
  EXPECT_GT(mean(rewards, 50, 60), mean(rewards, 0, 6) + 0.3);
  for (const char* name : {"objective/kl", "objective/entropy", "objective/scores", "objective/rlhf_reward",
                           "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg",
                           "val/clipfrac_avg", "val/ratio"})
    EXPECT_EQ(test::metrics(place_, "learned", {name}).size(), 60U) << name;
  EXPECT_EQ(place_.run({"generate", "learned/final", "--max-new-tokens", "4"}, "{\"prompt\": \"1 + 1\"}\n")
                .exit_code,
            0);
}

TEST_F(PpoRun, GoesOnInTheMiddleOfAGenerationWithTheSameBits) {
  expect_resumed_bits({"method.adap_kl_ctrl=true", "method.horizon=50"});
}

TEST_F(PpoRun, WithASeparateCriticItGoesOnWithTheSameBits) {
  expect_resumed_bits({"method.critic=separate", "parallel.dp=2", "parallel.zero_stage=2"});
  const auto config = nlohmann::json::parse(place_.read("whole/final/critic/config.json"));
  EXPECT_EQ(config["architectures"][0], "LlamaForSequenceClassification");
  EXPECT_EQ(place_.read("halves/final/critic/model.safetensors"),
            place_.read("whole/final/critic/model.safetensors"));
}

TEST_F(PpoRun, ACriticUnderAnAdapterBeginsAsARewardModel) {
  const Sets first = {"train.max_steps=1", "method.num_iterations=1"};
  Sets separate = first;
  separate.push_back("method.critic=separate");
  ASSERT_EQ(train("base", separate).exit_code, 0);
  Sets from_folder = separate;
  from_folder.insert(from_folder.end(), {"model=null", "model.path=base/final", "lora.r=4",
                                         "method.value_model=base/final/critic"});
  const Outcome outcome = train("adapters", from_folder);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto config = nlohmann::json::parse(place_.read("adapters/final/critic/adapter_config.json"));
  EXPECT_EQ(config["task_type"], "SEQ_CLS");
}

TEST_F(PpoRun, ACheckpointIsAModelWithoutItsCritic) {
  const Outcome outcome = train("run", {"train.max_steps=2", "checkpoint.every_steps=2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Outcome scored = place_.run({"score", "run/checkpoints/step_2"}, "{\"ids\": [1, 2, 3]}\n");
  EXPECT_EQ(scored.exit_code, 0) << scored.err;
  const Outcome final_scored = place_.run({"score", "run/final"}, "{\"ids\": [1, 2, 3]}\n");
  EXPECT_EQ(final_scored.exit_code, 0) << final_scored.err;
}

TEST_F(PpoRun, KeysThatDoNotFitAreRefusedWithAWayOut) {
  expect_refusal({"method.kl_coef=0.1"}, {"kl_coef", "method.beta"});
  expect_refusal({"method.target=5"}, {"method.target", "adap_kl_ctrl: true"});
  expect_refusal({"method.adap_kl_ctrl=true", "method.beta=0"}, {"method.adap_kl_ctrl", "try 0.05"});
  expect_refusal({"method.value_model=here"}, {"method.value_model", "critic: separate"});
  expect_refusal({"method.name=grpo", "method.num_generations=2", "method.vf_coef=1"},
                 {"method.vf_coef means nothing to method.name: grpo"});
}

}  // namespace
}  // namespace phalanx::launch
