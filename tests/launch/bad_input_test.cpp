// Each mistake a user can make: one clear line on stderr, the right exit code, nothing lost. (A full disk:
// tests/fault.)
#include <gtest/gtest.h>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;

int count_lines(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

void expect_one_error(const Outcome& outcome, int exit_code, const std::vector<std::string>& parts) {
  EXPECT_FALSE(outcome.timed_out);
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
  EXPECT_EQ(count_lines(outcome.err, "error:"), 1) << outcome.err;
  const size_t begin = outcome.err.rfind('\n', outcome.err.find("error:"));
  const std::string line = outcome.err.substr(begin == std::string::npos ? 0 : begin + 1);
  for (const std::string& part : parts)
    EXPECT_NE(line.find(part), std::string::npos) << "no " << part << " in: " << line;
  EXPECT_EQ(outcome.err.find("what()"), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find("mpirun noticed"), std::string::npos) << outcome.err;
}

class BadInput : public testing::Test {
 protected:
  BadInput() { place.write("tiny.yaml", test::tiny_config()); }
  Outcome train(std::vector<std::string> sets) {
    std::vector<std::string> arguments = {"train", "tiny.yaml"};
    for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
    return place.run(arguments);
  }
  void replace(const std::string& from, const std::string& to) {
    std::string text = test::tiny_config();
    ASSERT_NE(text.find(from), std::string::npos);
    place.write("tiny.yaml", text.replace(text.find(from), from.size(), to));
  }
  Workplace place;
};

TEST_F(BadInput, UnknownKeyNamesPlaceNearestAndKnownKeys) {
  replace("max_steps: 6", "max_stepz: 6");
  expect_one_error(
      train({}), 78,
      {"tiny.yaml:10:14: error:", "max_stepz", "did you mean max_steps?", "Known keys of train:"});
}

TEST_F(BadInput, EveryMistakeOfAConfigIsReportedAtOnce) {
  place.write("tiny.yaml", "train: {max_steps: -1, precison: fp32}\nfoo: 1\nrun: {seed: x}\n");
  const Outcome outcome = train({});
  EXPECT_EQ(outcome.exit_code, 78);
  EXPECT_EQ(count_lines(outcome.err, "error:"), 4) << outcome.err;
}

TEST_F(BadInput, MeshThatDoesNotMatchTheStartedRanksNamesBoth) {
  const Outcome outcome =
      place.run_command({"mpirun", "--oversubscribe", "--bind-to", "none", "-n", "3", PHALANX_PROGRAM,
                         "train", "tiny.yaml", "--set", "parallel.dp=2"});
  expect_one_error({78, "", outcome.err.substr(0, outcome.err.find("----")), outcome.timed_out}, 78,
                   {"parallel.dp", "needs 2 ranks but 3 were started"});
  EXPECT_EQ(outcome.exit_code, 78);
}

TEST_F(BadInput, MeshesThatDoNotFitTheModelAreRefusedAllAtOnceWithTheValidChoices) {
  // Two layers, four heads of which two have keys of their own, 96 features.
  expect_one_error(train({"parallel.tp=3"}), 78,
                   {"parallel.tp is 3", "num_attention_heads = 4", "try 1, 2, 4", "pp 1 x", "= 3 ranks"});
  expect_one_error(train({"parallel.pp=4"}), 78, {"parallel.pp", "4 stages", "num_hidden_layers = 2"});
  expect_one_error(train({"parallel.pp=1", "parallel.cp=3", "parallel.context_parallel=ulysses"}), 78,
                   {"parallel.cp"});
  expect_one_error(train({"parallel.ep=2"}), 78, {"parallel.ep"});
  expect_one_error(train({"parallel.dp=2", "parallel.dp_replicate=2"}), 78,
                   {"parallel.dp_replicate", "zero_stage"});
  expect_one_error(train({"parallel.sequence_parallel=true"}), 78,
                   {"parallel.sequence_parallel", "parallel.tp"});
  const Outcome stages = train({"parallel.pp=2", "parallel.virtual_stages=2"});
  EXPECT_EQ(count_lines(stages.err, "error:"), 2) << stages.err;  // too many stages; 1f1b has one per rank
  const Outcome both = train({"parallel.tp=3", "parallel.pp=4"});
  EXPECT_EQ(both.exit_code, 78);
  EXPECT_EQ(count_lines(both.err, "error:"), 2) << both.err;
}

TEST_F(BadInput, BatchThatDoesNotDivideOffersOneThatDoes) {
  expect_one_error(train({"train.global_batch_size=7"}), 78, {"train.global_batch_size is 7", "try 8"});
}

TEST_F(BadInput, MissingFilesAreNamed) {
  expect_one_error(place.run({"train", "nowhere.yaml"}), 78, {"nowhere.yaml:1:1: error:", "No such file"});
  expect_one_error(train({"data.train.0.path=nowhere.jsonl"}), 65, {"nowhere.jsonl"});
  expect_one_error(train({"model.tokenizer=nowhere"}), 65, {"nowhere"});
  replace("{family: llama,", "{path: nowhere.gguf,");
  const Outcome outcome = place.run({"score", "nowhere.gguf"}, "{\"text\": \"x\"}\n");
  expect_one_error(outcome, 65, {"nowhere.gguf", "no such file"});
}

TEST_F(BadInput, TruncatedModelFilesAreRefusedBeforeAnythingIsRead) {
  ASSERT_EQ(train({}).exit_code, 0);
  ASSERT_EQ(place.run({"export", "run", "model.gguf", "--to", "gguf", "--outtype", "f16"}).exit_code, 0);
  const std::string whole = place.read("model.gguf");
  for (const size_t bytes : {size_t{3}, size_t{20}, whole.size() / 50, whole.size() / 2, whole.size() - 1}) {
    place.write("cut.gguf", whole.substr(0, bytes));
    expect_one_error(place.run({"inspect", "cut.gguf"}), 65, {"cut.gguf"});
    expect_one_error(place.run({"score", "cut.gguf"}, "{\"text\": \"x\"}\n"), 65, {"cut.gguf"});
  }
  const std::string weights = place.read("run/final/model.safetensors");
  place.write("run/final/model.safetensors", weights.substr(0, weights.size() - 7));
  expect_one_error(place.run({"inspect", "run/final"}), 65, {"model.safetensors"});
}

TEST_F(BadInput, BrokenRecordIsNamedAndQuarantinedWhereTheConfigAllowsIt) {
  const std::string good = place.read("train.jsonl");
  place.write("train.jsonl", good + "{\"messages\": [\n");
  expect_one_error(train({}), 65, {"train.jsonl", "65", "data.max_bad_records"});
  EXPECT_EQ(train({"data.max_bad_records=1"}).exit_code, 0);
  const std::string quarantine = place.read("run/quarantine.jsonl");
  EXPECT_EQ(count_lines(quarantine, "\n"), 1) << quarantine;
  EXPECT_NE(quarantine.find("\"line\":65"), std::string::npos) << quarantine;
}

TEST_F(BadInput, RecordWithoutATargetIsABadRecord) {
  place.write("train.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"only a question\"}]}\n");
  const Outcome outcome = train({});
  expect_one_error(outcome, 65, {"train.jsonl"});
}

TEST_F(BadInput, NonFiniteLossStopsBeforeAnyWeightMoves) {
  const Outcome outcome = train({"optimizer.learning_rate=1.0e+30", "train.max_grad_norm=0",
                                 "checkpoint.every_steps=1", "train.max_steps=20"});
  expect_one_error(outcome, 76, {"step", "loss is", "no weight was changed", "optimizer.learning_rate"});
  EXPECT_EQ(place.run({"verify", "checkpoint", "run"}).exit_code, 0);
}

TEST_F(BadInput, ResumingWithAnotherBatchSizeIsRefused) {
  ASSERT_EQ(train({}).exit_code, 0);
  expect_one_error(train({"train.global_batch_size=16"}), 78,
                   {"train.global_batch_size = 8", "now it is 16", "checkpoint.resume: never"});
}

TEST_F(BadInput, UnknownCommandAndOptionAreConfigErrors) {
  expect_one_error(place.run({"trian", "tiny.yaml"}), 78, {"--help"});
  expect_one_error(place.run({"train", "tiny.yaml", "--frobnicate"}), 78, {"--frobnicate"});
  expect_one_error(place.run({"export", "a", "b", "--to", "onnx"}), 78, {"onnx"});
}

TEST_F(BadInput, DryRunFindsWhatTheRunWouldFind) {
  EXPECT_EQ(place.run({"train", "tiny.yaml", "--dry-run"}).exit_code, 0);
  EXPECT_EQ(place.run({"train", "tiny.yaml", "--dry-run", "--set", "data.train.0.path=no.jsonl"}).exit_code,
            65);
  EXPECT_EQ(place.run({"train", "tiny.yaml", "--dry-run", "--set", "train.x=1"}).exit_code, 78);
}

TEST_F(BadInput, AnErrorOfOneRankOfSeveralComesOnceWithItsReason) {
  place.write("train.jsonl", place.read("train.jsonl") + "broken\n");
  expect_one_error(train({"parallel.dp=2"}), 65, {"train.jsonl", "65"});
}

TEST_F(BadInput, OutputFolderInUseIsRefusedAndTheRunInItGoesOn) {
  const std::string command =
      PHALANX_PROGRAM " train tiny.yaml --set train.max_steps=400 --set eval.every_steps=0";
  const Outcome both = place.run_command(
      {"bash", "-c",
       command + " 2>first & until compgen -G 'run/checkpoints/step_*' > rest; do sleep 0.05; done; " +
           command + "; second=$?; kill -USR1 %1; wait %1; echo \"$second $?\""});
  EXPECT_EQ(both.out, "77 75\n") << both.err << place.read("first");
  expect_one_error({77, "", both.err}, 77, {"run/checkpoints", "in use by process", "run.output_dir"});
  EXPECT_EQ(place.run({"verify", "checkpoint", "run"}).exit_code, 0);
}

TEST_F(BadInput, PrintedConfigIsAConfigThatMeansTheSame) {
  const Outcome printed = place.run({"train", "tiny.yaml", "--print-config"});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  EXPECT_NE(printed.out.find("learning_rate: 0.01  # tiny.yaml:9"), std::string::npos) << printed.out;
  place.write("again.yaml", printed.out);
  const Outcome again = place.run({"train", "again.yaml", "--print-config"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
}

}  // namespace
}  // namespace phalanx::launch
