// `phalanx pipeline` with tiny models, as a user runs it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "launch/program.h"
#include "serve/http_client.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::Workplace;

constexpr const char* kTiny = R"(pipeline: {output_dir: out}
defaults:
  run:        {seed: 3, threads: 1}
  data:       {sequence_length: 128}
  optimizer:  {learning_rate: 1.0e-2}
  schedule:   {name: constant}
  train:      {max_steps: 3, global_batch_size: 4, micro_batch_size: 2, precision: fp32}
  checkpoint: {every_steps: 2}
stages:
  sft:
    kind:  train
    model: {family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
            num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}
    data:  {train: [{path: train.jsonl}], packing: true}
)";

constexpr const char* kDpo = R"(
  dpo:
    kind:     train
    model:    {path: {from: sft}}
    lora:     {r: 2}
    data:     {train: [{path: pairs.jsonl}]}
    method:   {name: dpo, beta: 0.1}
    parallel: {dp: 2}
  merged: {kind: merge, adapters: [{path: {from: dpo}}], outtype: f32}
  held-out: {kind: eval, source: {from: merged}, data: {eval: [{path: eval.jsonl}]}, eval: {max_sequences: 2}}
)";

class PipelineProgram : public testing::Test {
 protected:
  PipelineProgram() {
    place.write("p.yaml", std::string(kTiny) + kDpo);
    std::string pairs;
    for (int i = 0; i < 16; ++i)
      pairs += fmt::format(R"({{"prompt":[{{"role":"user","content":"{0} + 1"}}],)"
                           R"("chosen":[{{"role":"assistant","content":"It is {1}."}}],)"
                           R"("rejected":[{{"role":"assistant","content":"No."}}]}})"
                           "\n",
                           i, i + 1);
    place.write("pairs.jsonl", pairs);
  }

  Outcome pipeline(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"pipeline", "p.yaml"});
    return place.run(more, "", 100);
  }

  /// The stages that a run says it has started, in its order.
  static std::vector<std::string> started(const Outcome& outcome) {
    std::vector<std::string> names;
    std::istringstream lines(outcome.err);
    for (std::string line; std::getline(lines, line);) {
      const size_t at = line.find("stage ");
      const bool runs =
          line.find(") runs:") != std::string::npos || line.find(") goes on:") != std::string::npos;
      if (at != std::string::npos && runs)
        names.push_back(line.substr(at + 6, line.find(' ', at + 6) - at - 6));
    }
    return names;
  }

  /// The port of the label page that the n-th stage of that kind serves; 0 after a minute.
  uint16_t wait_for_page(int n) const {
    for (int i = 0; i < 6000; ++i) {
      const std::string said = place.read(".streams/stderr");
      size_t at = 0;
      for (int k = 0; k < n && at != std::string::npos; ++k)
        at = said.find("open http://127.0.0.1:", at + (k > 0));
      if (at != std::string::npos && said.find('/', at + 22) != std::string::npos)
        return static_cast<uint16_t>(std::stoi(said.substr(at + 22)));
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "no page: " << place.read(".streams/stderr");
    return 0;
  }

  static nlohmann::json ask(uint16_t port, const std::string& method, const std::string& path,
                            const std::string& body = "") {
    serve::test::Client client(port);
    client.send(
        fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
                    method, path, body.size(), body));
    const std::string answer = client.receive_to_end();
    const size_t begin = answer.find("\r\n\r\n{") + 4;
    return nlohmann::json::parse(answer.substr(begin, answer.rfind('}') + 1 - begin), nullptr, false);
  }

  static void choose_left(uint16_t port) {
    const nlohmann::json state = ask(port, "GET", "/api/state?labeller=ann");
    ASSERT_TRUE(state.is_object() && state["question"].is_object()) << state.dump();
    const nlohmann::json body = {
        {"labeller", "ann"}, {"pair", state["question"]["pair"]}, {"choice", "left"}, {"seconds", 1}};
    EXPECT_FALSE(ask(port, "POST", "/api/answer", body.dump()).is_discarded());
  }

  Workplace place;
};

using Names = std::vector<std::string>;

TEST_F(PipelineProgram, OnlyWhatChangedRunsAgain) {
  const Outcome first = pipeline();
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(started(first), (Names{"sft", "dpo", "merged", "held-out"}));
  EXPECT_GT(nlohmann::json::parse(place.read("out/held-out/evaluation.json"))["eval_loss"], 0.0);
  EXPECT_TRUE(fs::exists(place.path("out/dpo/final/adapter_config.json")));
  EXPECT_TRUE(fs::exists(place.path("out/merged/model/verification.json")));

  const Outcome again = pipeline();
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(started(again), Names()) << again.err;

  const Outcome plan = pipeline({"--dry-run", "--set", "stages.dpo.method.beta=0.2"});
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_EQ(plan.out,
            "sft       is up to date\n"
            "dpo       runs: method.beta changed 0.1 -> 0.2\n"
            "merged    runs: stage dpo runs\n"
            "held-out  runs: stage merged runs\n");

  std::ofstream(place.path("out/merged/model/model.safetensors"), std::ios::app) << "x";
  const Outcome harmed = pipeline();
  EXPECT_EQ(harmed.exit_code, 0) << harmed.err;
  EXPECT_EQ(started(harmed), Names{"merged"}) << harmed.err;  // and made the same as before
}

TEST_F(PipelineProgram, AKilledPipelineGoesOnWhereItWas) {
  place.write("p.yaml", kTiny);
  const auto sets = [](const std::string& folder) {
    return Names{"--set", "stages.sft.train.max_steps=100", "--set", "pipeline.output_dir=" + folder};
  };
  const auto joined = [](const Names& words) { return fmt::format("{}", fmt::join(words, " ")); };
  ASSERT_EQ(pipeline(sets("whole")).exit_code, 0);
  for (const char* signal : {"KILL", "TERM"}) {
    const std::string folder = std::string("by-") + signal;
    const Outcome killed = place.run_command(
        {"sh", "-c",
         fmt::format("{} pipeline p.yaml {} & until [ -d {}/sft/checkpoints/step_4 ]; do sleep 0.01; done; "
                     "kill -{} $!; wait $!",
                     PHALANX_PROGRAM, joined(sets(folder)), folder, signal)});
    EXPECT_EQ(killed.exit_code, std::string(signal) == "KILL" ? 137 : 75) << killed.err;
    EXPECT_FALSE(fs::exists(place.path(folder + "/sft/final")));
    const Outcome rest = pipeline(sets(folder));
    ASSERT_EQ(rest.exit_code, 0) << rest.err;
    EXPECT_NE(rest.err.find("goes on: it has not ended"), std::string::npos) << rest.err;
    EXPECT_NE(rest.err.find("resumed from"), std::string::npos) << rest.err;
    EXPECT_EQ(place.read(folder + "/sft/final/model.safetensors"),
              place.read("whole/sft/final/model.safetensors"));
  }
}

TEST_F(PipelineProgram, ExitCodesAndErrorsAreThoseOfTheStages) {
  place.write("broken.jsonl", "{\"messages\": 3}\n");
  const struct {
    Names arguments;
    int exit_code;
    Names parts;
  } cases[] = {
      {{"--set", "stages.sft.data.train=[{path: broken.jsonl}]"},
       65,
       {"broken.jsonl", "stage sft ended with exit code 65"}},
      {{"--set", "stages.sft.train.max_steps=0", "--set", "stages.dpo.method.beta=x"},
       78,
       {"--set stages.sft.train.max_steps: error:", "--set stages.dpo.method.beta: error:"}},
      {{"--set", "stages.dpo.data.train=[{path: lost.jsonl}]"}, 78, {"lost.jsonl: no such file"}},
      {{"--only", "dpo"}, 78, {"uses stage sft, which is not up to date (it has not run yet)"}},
      {{"--run-stage", "sft"}, 78, {"has not begun"}},
  };
  for (const auto& [arguments, exit_code, parts] : cases) {
    const Outcome outcome = pipeline(arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    for (const std::string& part : parts)
      EXPECT_NE(outcome.err.find(part), std::string::npos) << "no " << part << " in: " << outcome.err;
    fs::remove_all(place.path("out"));
  }
  place.write("p.yaml", std::string(kTiny) + "    parallel: {tp: 3}\n");
  const Outcome outcome = pipeline();  // what only the model can tell is found when the stage starts
  EXPECT_EQ(outcome.exit_code, 78);
  EXPECT_NE(outcome.err.find("p.yaml:15:16: error: parallel.tp is 3"), std::string::npos) << outcome.err;
}

TEST_F(PipelineProgram, PeopleLabelWhatTheModelWroteAndTheNextRoundStartsFromIt) {
  place.write("p.yaml", std::string(kTiny) + R"(
  loop:
    rounds: 2
    stages:
      answers: {kind: generate, source: {previous: policy, first: {from: sft}}, prompts: pairs.jsonl, max_prompts: 6,
                max_new_tokens: 8}
      people:  {kind: label, answers: {from: answers}, preferences: 2, port: 0}
      policy:
        kind:   train
        model:  {path: {previous: policy, first: {from: sft}}}
        data:   {train: [{path: {from: people, rounds: all}}]}
        method: {name: dpo}
)");
  Outcome outcome;
  std::thread program([&] { outcome = pipeline(); });
  for (int round = 1; round <= 2; ++round) {
    const uint16_t port = wait_for_page(round);
    if (port == 0) break;
    for (int i = 0; i < 2; ++i) choose_left(port);
  }
  program.join();
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(started(outcome), (Names{"sft", "loop/1/answers", "loop/1/people", "loop/1/policy",
                                     "loop/2/answers", "loop/2/people", "loop/2/policy"}));
  EXPECT_NE(place.read("out/loop/1/answers/answers.jsonl"), place.read("out/loop/2/answers/answers.jsonl"));
  const std::string config = place.read("out/loop/2/policy/config.resolved.yaml");
  EXPECT_NE(config.find("out/loop/1/people/preferences.jsonl"), std::string::npos);
  EXPECT_NE(config.find("out/loop/2/people/preferences.jsonl"), std::string::npos);
  EXPECT_EQ(started(pipeline()), Names());
}

}  // namespace
}  // namespace phalanx::launch
