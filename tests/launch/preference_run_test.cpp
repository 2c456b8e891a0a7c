// Methods of judged answers through the whole program.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::Workplace;

class PreferenceRun : public testing::Test {
 protected:
  PreferenceRun() {
    std::string config = test::tiny_config();
    const auto replace = [&](const std::string& from, const std::string& to) {
      config.replace(config.find(from), from.size(), to);
    };
    replace("  packing:  true\n", "");
    replace("train.jsonl", "pairs.jsonl");
    replace("eval.jsonl", "held_out.jsonl");
    place_.write("tiny.yaml", config + "schedule: {name: constant}\n");
    std::string pairs, singles;
    for (int i = 0; i < 40; ++i) {
      const std::string prompt = fmt::format(R"([{{"role":"user","content":"{} + {}"}}])", i, i % 7);
      const std::string right =
          fmt::format(R"([{{"role":"assistant","content":"{} plus {} makes {}."}}])", i, i % 7, i + i % 7);
      const std::string wrong = R"([{"role":"assistant","content":"That I cannot know."}])";
      pairs += fmt::format("{{\"prompt\":{},\"chosen\":{},\"rejected\":{}}}\n", prompt, right, wrong);
      singles += fmt::format("{{\"prompt\":{},\"completion\":{},\"label\":{}}}\n", prompt,
                             i % 3 ? right : wrong, i % 3 ? "true" : "false");
    }
    place_.write("pairs.jsonl", pairs);
    place_.write("held_out.jsonl", pairs.substr(0, pairs.find('\n', pairs.size() / 4) + 1));
    place_.write("singles.jsonl", singles);
  }

  Outcome train(const std::string& method, const std::string& folder,
                std::vector<std::string> sets = {}) const {
    std::vector<std::string> arguments = {
        "train", "tiny.yaml",    "--set", "run.output_dir=" + folder, "--set", "method.name=" + method,
        "--set", "run.threads=1"};
    for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
    return place_.run(arguments);
  }

  static std::vector<std::string> on_singles() {
    return {"data.train=[{path: singles.jsonl}]", "data.eval=[{path: singles.jsonl}]"};
  }

  void expect_refusal(const std::string& method, const std::vector<std::string>& sets,
                      const std::vector<std::string>& parts) const {
    const Outcome outcome = train(method, "refused", sets);
    EXPECT_EQ(outcome.exit_code, 78) << outcome.err;
    for (const std::string& part : parts)
      EXPECT_NE(outcome.err.find(part), std::string::npos) << "no " << part << " in: " << outcome.err;
  }

  Workplace place_;
};

TEST_F(PreferenceRun, DpoPrefersWhatItIsTaughtOnTwoRanks) {
  const Outcome outcome = train("dpo", "dpo", {"train.max_steps=12", "eval.every_steps=12", "parallel.dp=2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NEAR(test::metrics(place_, "dpo", {"loss"}).front(), std::log(2.0),
              1e-5);  // the policy is the reference
  EXPECT_GT(test::metrics(place_, "dpo", {"rewards/margins"}).back(), 0.1);
  EXPECT_GE(test::metrics(place_, "dpo", {"eval_rewards/accuracies"}).back(), 0.9);
  const Outcome scored = place_.run({"score", "dpo/final"}, "{\"ids\": [1, 2, 3, 4, 5]}\n");
  EXPECT_EQ(scored.exit_code, 0) << scored.err;
}

TEST_F(PreferenceRun, EvaluationDoesNotDependOnTheMesh) {
  for (const char* method : {"dpo", "kto"}) {
    const bool is_kto = std::string(method) == "kto";
    std::vector<std::vector<double>> losses;
    for (const std::string mesh : {"parallel.dp=1", "parallel.dp=2", "parallel.pp=2"}) {
      const std::string folder = method + mesh.substr(9, 2) + mesh.back();
      std::vector<std::string> sets = {mesh,
                                       "train.precision=fp64",
                                       "train.max_steps=2",
                                       "eval.every_steps=1",
                                       "eval.max_sequences=13",
                                       "checkpoint.every_steps=0",
                                       "checkpoint.save_final=false"};
      if (is_kto)
        for (const std::string& set : on_singles()) sets.push_back(set);
      const Outcome outcome = train(method, folder, sets);
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      losses.push_back(test::metrics(place_, folder, {"eval_loss"}));
      ASSERT_EQ(losses.back().size(), 3U);
      for (size_t i = 0; i < 3; ++i)
        EXPECT_NEAR(losses.back()[i], losses[0][i], 1e-11) << method << " " << mesh;
    }
  }
}

TEST_F(PreferenceRun, BcoGoesOnWithTheMeanItHad) {
  std::vector<std::string> whole = on_singles(), half = on_singles();
  half.insert(half.end(), {"train.max_steps=3", "checkpoint.every_steps=3"});
  ASSERT_EQ(train("bco", "whole", whole).exit_code, 0);
  ASSERT_EQ(train("bco", "halves", half).exit_code, 0);
  ASSERT_EQ(train("bco", "halves", whole).exit_code, 0);
  EXPECT_EQ(test::metrics(place_, "halves", {"loss", "delta"}),
            test::metrics(place_, "whole", {"loss", "delta"}));
}

TEST_F(PreferenceRun, EveryMethodRuns) {
  for (const char* method : {"cpo", "orpo", "kto", "bco", "reward"}) {
    const bool has_singles = std::string(method) == "kto" || std::string(method) == "bco";
    const Outcome outcome = train(method, method, has_singles ? on_singles() : std::vector<std::string>());
    EXPECT_EQ(outcome.exit_code, 0) << method << ": " << outcome.err;
  }
}

TEST_F(PreferenceRun, RewardModelsAreClassifiersThatGoOnTraining) {
  const Outcome outcome = train("reward", "reward", {"train.max_steps=12", "eval.every_steps=12"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_GE(test::metrics(place_, "reward", {"eval_accuracy"}).back(), 0.9);
  const auto config = nlohmann::json::parse(place_.read("reward/final/config.json"));
  EXPECT_EQ(config["architectures"][0], "LlamaForSequenceClassification");
  EXPECT_EQ(config["id2label"].size(), 1U);
  EXPECT_EQ(place_.run({"inspect", "reward/final"}).exit_code, 0);
  const Outcome generated = place_.run({"generate", "reward/final"}, "{\"prompt\": \"1 + 1\"}\n");
  EXPECT_EQ(generated.exit_code, 65);
  EXPECT_NE(generated.err.find("a reward model"), std::string::npos) << generated.err;
  const std::vector<std::string> from_it = {"model=null", "model.path=reward/final",
                                            "model.tokenizer=tokenizer"};
  const Outcome more = train("reward", "more", from_it);
  EXPECT_EQ(more.exit_code, 0) << more.err;
  EXPECT_LT(test::metrics(place_, "more", {"loss"}).front(), 0.5);
  expect_refusal("dpo", from_it, {"a reward model", "name a language model"});
}

TEST_F(PreferenceRun, RewardModelsUnderAnAdapterBringTheirScore) {
  ASSERT_EQ(train("dpo", "base", {"train.max_steps=2"}).exit_code, 0);
  const std::vector<std::string> base = {"model=null", "model.path=base/final", "lora.r=4"};
  const Outcome outcome = train("reward", "adapter", base);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto config = nlohmann::json::parse(place_.read("adapter/final/adapter_config.json"));
  EXPECT_EQ(config["modules_to_save"], nlohmann::json({"score"}));
  EXPECT_EQ(config["task_type"], "SEQ_CLS");
}

TEST_F(PreferenceRun, ARewardModelSaysWhichPairsAreAskedFirst) {
  ASSERT_EQ(train("reward", "reward", {"train.max_steps=12"}).exit_code, 0);
  ASSERT_EQ(train("dpo", "base", {"train.max_steps=2"}).exit_code, 0);
  ASSERT_EQ(train("reward", "adapter", {"model=null", "model.path=base/final", "lora.r=4"}).exit_code, 0);
  for (const std::string model : {"reward", "reward/final", "adapter/final"}) {
    fs::remove_all(place_.path("prefs.jsonl.scores"));
    const std::vector<std::string> words = {"label", "pairs.jsonl",    "--out", "prefs.jsonl",   "--port",
                                            "0",     "--reward-model", model,   "--preferences", "1"};
    // It scores before it serves; nobody comes, and the program is told to stop.
    const Outcome outcome =
        place_.run_command({"sh", "-c",
                            fmt::format("{} {} & until [ -e prefs.jsonl.journal ] || ! kill -0 $!; do sleep "
                                        "0.02; done; sleep 0.3; kill -TERM $!; "
                                        "wait $!",
                                        PHALANX_PROGRAM, fmt::join(words, " "))});
    EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
    EXPECT_NE(outcome.err.find("has scored 40 pairs, 40 of them now"), std::string::npos) << outcome.err;
    const auto scores = nlohmann::json::parse(place_.read("prefs.jsonl.scores"))["margins"];
    ASSERT_EQ(scores.size(), 40U);
    int num_right = 0;
    for (const auto& margin : scores) num_right += margin > 0;
    EXPECT_GE(num_right, model == "adapter/final" ? 0 : 36) << "chosen stands first in every pair";
    fs::remove(place_.path("prefs.jsonl.journal"));
  }
  place_.write("one.jsonl", R"({"prompt": "p", "chosen": "a", "rejected": "b"})");
  const Outcome refused = place_.run({"label", "one.jsonl", "--out", "o.jsonl", "--reward-model", "base"});
  EXPECT_EQ(refused.exit_code, 65) << refused.err;
  EXPECT_NE(refused.err.find("is no reward model"), std::string::npos) << refused.err;
}

TEST_F(PreferenceRun, ProcessRewardModelsAreClassifiersOfTokensThatGoOnTraining) {
  std::string steps;
  for (int i = 0; i < 40; ++i)
    steps += fmt::format(
        "{{\"prompt\":\"{} + {}\",\"completions\":[\"{} plus {}\",\"makes {}.\"],\"labels\":[true,{}]}}\n", i,
        i % 7, i, i % 7, i % 2 ? i + i % 7 : 99, i % 2 ? "true" : "false");
  place_.write("steps.jsonl", steps);
  const std::vector<std::string> data = {"data.train=[{path: steps.jsonl}]",
                                         "data.eval=[{path: steps.jsonl}]"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), data.begin(), data.end());
    return more;
  };
  const Outcome outcome = train("prm", "prm", with({"train.max_steps=60", "eval.every_steps=60"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_GE(test::metrics(place_, "prm", {"eval_accuracy"}).back(), 0.9);
  const auto config = nlohmann::json::parse(place_.read("prm/final/config.json"));
  EXPECT_EQ(config["architectures"][0], "LlamaForTokenClassification");
  EXPECT_EQ(config["id2label"].size(), 2U);
  const std::vector<std::string> from_it = {"model=null", "model.path=prm/final",
                                            "model.tokenizer=tokenizer"};
  const Outcome more = train("prm", "more", with(from_it));
  EXPECT_EQ(more.exit_code, 0) << more.err;
  EXPECT_LT(test::metrics(place_, "more", {"loss"}).front(), 0.5);
  expect_refusal("reward", from_it, {"scores tokens with num_labels 2", "scores sequences with 1"});
  const Outcome wrong = train("prm", "wrong", {});
  EXPECT_EQ(wrong.exit_code, 78) << wrong.err;
  EXPECT_NE(wrong.err.find("prompt, completions and labels"), std::string::npos) << wrong.err;
}

TEST_F(PreferenceRun, KeysThatDoNotFitAreRefusedWithAWayOut) {
  expect_refusal("dpo", {"method.loss_type=sigmoyd"}, {"method.loss_type", "\"sigmoyd\"", "apo_zero"});
  expect_refusal("dpo", {"method.loss_weights=[1, 2]"}, {"has 2 numbers but loss_type has 1"});
  expect_refusal("dpo", {"method.loss_type=exo_pair"}, {"method.label_smoothing", "above 0"});
  expect_refusal("dpo", {"method.loss_type=ipo", "method.label_smoothing=0.1"}, {"does not read it"});
  expect_refusal("dpo", {"method.loss_type=aot", "method.use_weighting=true"},
                 {"no meaning with loss_type aot"});
  expect_refusal("dpo", {"method.loss_type=apo_zero", "method.f_divergence_type=forward_kl"},
                 {"no meaning with loss_type apo_zero"});
  expect_refusal("kto", {"method.loss_type=sigmoid"}, {"must be one of kto, apo_zero_unpaired"});
  expect_refusal("orpo", {"method.cpo_alpha=1"}, {"means nothing to method.name: orpo"});
  expect_refusal("dpo", {"data.packing=true"}, {"data.packing", "must be false"});
  expect_refusal("dpo", {"data.loss_on=all"}, {"data.loss_on", "leave it out"});
  expect_refusal("kto", {"data.train=[{path: train.jsonl}]"}, {"train.jsonl", "a completion and a label"});
  expect_refusal("dpo", {"data.train=[{path: train.jsonl}]"}, {"train.jsonl", "chosen and rejected"});
}

}  // namespace
}  // namespace phalanx::launch
