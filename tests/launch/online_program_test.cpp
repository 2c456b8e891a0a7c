// Methods of sampled answers through the whole program.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/program.h"
#include "serve/scripted_server.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using serve::test::ScriptedServer;
using test::Outcome;
using test::Workplace;
using Settings = std::vector<std::string>;

/// Two steps of 16 answers by a new model; each test says what they are worth.
constexpr const char* kOnlineConfig = R"(run:        {name: tiny, seed: 3, threads: 1}
model:      {family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
             num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}
data:       {train: [{path: prompts.jsonl}]}
method:     {name: grpo, num_generations: 4, max_completion_length: 6}
reward:     {terms: [{name: format_match, pattern: ".*[a-f].*"}]}
optimizer:  {learning_rate: 1.0e-2}
schedule:   {name: constant}
train:      {max_steps: 2, global_batch_size: 16, micro_batch_size: 4, precision: fp32}
checkpoint: {every_steps: 0}
)";

class OnlineProgram : public testing::Test {
 protected:
  OnlineProgram() {
    place_.write("online.yaml", kOnlineConfig);
    std::string prompts;
    for (int i = 0; i < 20; ++i) prompts += fmt::format("{{\"prompt\": \"{} + {}\"}}\n", i, i % 7);
    place_.write("prompts.jsonl", prompts);
  }

  Outcome train(const std::string& folder, const Settings& settings = {}) const {
    std::vector<std::string> arguments = {"train", "online.yaml", "--set", "run.output_dir=" + folder};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    return place_.run(arguments);
  }
  /// The lines of all generations of a run.
  std::vector<nlohmann::json> groups(const std::string& folder) const {
    std::vector<nlohmann::json> found;
    for (int number = 0;; ++number) {
      std::istringstream lines(
          place_.read(fmt::format("{}/rollouts/generation_{:06}.jsonl", folder, number)));
      std::string line;
      if (!std::getline(lines, line)) return found;
      while (std::getline(lines, line)) found.push_back(nlohmann::json::parse(line));
    }
  }
  /// Everything that a run must leave in the same bits on any mesh.
  std::string trace(const std::string& folder) const {
    std::string text;
    for (const nlohmann::json& group : groups(folder)) text += group.dump() + "\n";
    for (const double value : test::metrics(place_, folder, {"loss", "grad_norm", "reward", "reward_std"}))
      text += fmt::format("{:a} ", value);
    return text + place_.read(folder + "/final/model.safetensors");
  }

  Workplace place_;
};

TEST_F(OnlineProgram, HasTheSameAnswersRewardsAndLossesOnEveryDataParallelMesh) {
  const std::vector<Settings> meshes = {{"parallel.dp=1"},
                                        {"parallel.dp=1", "train.micro_batch_size=16"},
                                        {"parallel.dp=2"},
                                        {"parallel.dp=2", "parallel.zero_stage=1"},
                                        {"parallel.dp=2", "parallel.zero_stage=2"},
                                        {"parallel.dp=2", "parallel.zero_stage=3"},
                                        {"parallel.dp=4"},
                                        {"parallel.dp=4", "parallel.zero_stage=3"}};
  for (const Settings& method :
       {Settings{"method.beta=0.1", "method.num_iterations=2", "method.epsilon=0.01"},
        Settings{"method.name=rloo", "method.beta=0.1", "method.steps_per_generation=2"}}) {
    std::string expected;
    for (size_t m = 0; m < meshes.size(); ++m) {
      Settings settings = meshes[m];
      settings.insert(settings.end(), method.begin(), method.end());
      settings.insert(settings.end(), {"run.determinism=mesh_invariant", "rollout.batch_invariant=true"});
      const std::string folder = fmt::format("{}_{}", method[0].back(), m);
      fs::remove_all(place_.path(folder));
      const Outcome outcome = train(folder, settings);
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      if (expected.empty()) expected = trace(folder);
      EXPECT_TRUE(trace(folder) == expected) << fmt::format("{}", meshes[m].back());
    }
    const std::vector<double> deviations =
        test::metrics(place_, method[0].back() + std::string("_0"), {"reward_std"});
    EXPECT_GT(deviations.at(0), 0) << "rewards that differ, so that something is learned";
  }
}

/// A judge whose every third answer is of no use.
void answer_now_and_then(int socket, const std::string& request, int) {
  const size_t choice = std::hash<std::string>()(request.substr(request.find("\r\n\r\n"))) % 9;
  const std::string content = choice % 3 == 0 ? "no idea" : std::to_string(choice);
  ScriptedServer::send(socket, ScriptedServer::with_length(
                                   200, R"({"choices": [{"message": {"content": ")" + content + R"("}}]})"));
}

void expect_finite_metrics(const Workplace& place, const std::string& folder) {
  const std::vector<double> values =
      test::metrics(place, folder, {"loss", "grad_norm", "reward", "reward_std"});
  EXPECT_EQ(values.size(), 8U);
  for (const double value : values) EXPECT_TRUE(std::isfinite(value));
}

TEST_F(OnlineProgram, AnswersWithoutAScoreCountNowhereAndTheKeyIsNowhere) {
  ::setenv("PHALANX_TEST_JUDGE_KEY", "sk-hunter2", 1);
  ScriptedServer server(answer_now_and_then);
  const Outcome outcome = train(
      "run", {"parallel.dp=2", "checkpoint.every_steps=1", "reward.max_unscorable=1",
              fmt::format(R"(reward.terms=[{{name: judge, urls: "{}", model: m, prompt: "{{completion}}", )"
                          "api_key_env: PHALANX_TEST_JUDGE_KEY}}]",
                          server.url())});
  ::unsetenv("PHALANX_TEST_JUDGE_KEY");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  expect_finite_metrics(place_, "run");
  int num_null = 0, num_scores = 0;
  for (const nlohmann::json& group : groups("run")) {
    for (const auto& reward : group["rewards"]) {
      num_null += static_cast<int>(reward.is_null());
      num_scores += static_cast<int>(reward.is_number() && reward > 0);
    }
  }
  EXPECT_GT(num_null, 0);
  EXPECT_EQ(num_null + num_scores, 32) << "none is worth 0";
  EXPECT_NE(server.requests().at(0).find("Bearer sk-hunter2"), std::string::npos);
  EXPECT_EQ(outcome.err.find("hunter2"), std::string::npos);
  for (const auto& entry : fs::recursive_directory_iterator(place_.path("run"))) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(place_.read(fs::relative(entry.path(), place_.folder())).find("hunter2"), std::string::npos)
        << entry.path();
  }
}

constexpr const char* kVerifier = R"(import json, os, signal, socket, sys, time
sample = json.loads(sys.stdin.readline())
kind = sum(map(ord, sample["completion"])) % 12

def say(reward):
    print(json.dumps({"id": sample["id"], "reward": reward}), flush=True)

def fork_for_ever():
    while True:
        try: os.fork()
        except OSError: pass

def write_for_ever():
    while True: sys.stdout.write("x" * 65536)

def spin():
    while True: pass

def harm_the_run():
    for pid in (os.getppid(), 1, -1): 
        try: os.kill(pid, signal.SIGKILL)
        except OSError: pass
    for folder in ("FOLDER/run", "FOLDER/hostile"):
        try: open(folder + "/checkpoints/LEASE", "w").write("0")
        except OSError: pass
    sys.exit(9)

HOSTILE = {0: spin, 1: fork_for_ever, 2: write_for_ever, 3: harm_the_run}
if kind not in HOSTILE:
    say(kind)
elif sys.argv[1] == "hostile":
    HOSTILE[kind]()
else:
    say(None)
)";

TEST_F(OnlineProgram, AHostileVerifierChangesNothingButItsScores) {
  std::string verifier = kVerifier;
  for (size_t at = 0; (at = verifier.find("FOLDER")) != std::string::npos;)
    verifier.replace(at, 6, place_.folder().string());
  place_.write("verify.py", verifier);
  for (const char* manner : {"hostile", "polite"}) {
    const Outcome outcome = train(
        manner,
        {"parallel.dp=2", "checkpoint.every_steps=1", "reward.max_unscorable=1",
         fmt::format("reward.terms=[{{name: program, command: [python3, -S, verify.py, {}], timeout_s: 1}}]",
                     manner)});
    if (outcome.err.find("allows no sandbox") != std::string::npos)
      GTEST_SKIP() << "no namespaces: " << outcome.err;
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    expect_finite_metrics(place_, manner);
    EXPECT_EQ(outcome.err.find("have no score") != std::string::npos, std::string(manner) == "hostile")
        << outcome.err;
  }
  EXPECT_TRUE(trace("hostile") == trace("polite"));
}

}  // namespace
}  // namespace phalanx::launch
