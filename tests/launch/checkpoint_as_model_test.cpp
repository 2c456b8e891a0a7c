// A checkpoint is a model like any other: what a run had learned by then can be used without ending the run.
#include <gtest/gtest.h>

#include <filesystem>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::Workplace;
using Words = std::vector<std::string>;

constexpr const char* kRow = "{\"text\": \"alpha beta\"}\n";

/// A finished run "full" of two ranks, whose checkpoint is held in pieces by both.
void train_full(const Workplace& place) {
  place.write("tiny.yaml", test::tiny_config());
  const Outcome outcome =
      place.run({"train", "tiny.yaml", "--set", "run.output_dir=full", "--set", "model.dtype=fp32", "--set",
                 "parallel.dp=2", "--set", "train.micro_batch_size=2", "--set", "checkpoint.every_steps=3"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
}

std::string scores(const Workplace& place, const Words& model) {
  Words words = {"score"};
  words.insert(words.end(), model.begin(), model.end());
  words.insert(words.end(), {"--set", "train.precision=fp32"});
  const Outcome outcome = place.run(words, kRow);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.out;
}

void expect_refused(const Outcome& outcome, const std::string& part) {
  EXPECT_EQ(outcome.exit_code, 65) << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
}

TEST(CheckpointAsModel, IsTheFinalModelAfterTheLastStep) {
  const Workplace place;
  train_full(place);
  const Outcome exported = place.run({"export", "full/checkpoints/step_6", "made", "--outtype", "f32"});
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_TRUE(place.read("made/model.safetensors") == place.read("full/final/model.safetensors"));
  EXPECT_NE(scores(place, {"full/checkpoints/step_3"}), scores(place, {"full"}));
}

TEST(CheckpointAsModel, StandsForARunThatHasNotEnded) {
  const Workplace place;
  train_full(place);
  const std::string expected = scores(place, {"full"});
  fs::remove_all(place.path("full/final"));
  EXPECT_EQ(scores(place, {"full"}), expected);
  EXPECT_EQ(scores(place, {"full/checkpoints"}), expected);
}

TEST(CheckpointAsModel, IsRefusedIfABitOfItFlipped) {
  const Workplace place;
  train_full(place);
  std::string shard = place.read("full/checkpoints/step_6/shard_1.h5");
  ASSERT_FALSE(shard.empty());
  shard[shard.size() / 2] ^= 4;
  place.write("full/checkpoints/step_6/shard_1.h5", shard);
  expect_refused(place.run({"score", "full/checkpoints/step_6"}, kRow), "shard_1.h5");
  fs::remove_all(place.path("full/final"));
  EXPECT_EQ(scores(place, {"full"}), scores(place, {"full/checkpoints/step_3"})) << "the newest whole one";
}

TEST(CheckpointAsModel, OfAnAdapterGoesOnTheBaseThatTheRunHad) {
  const Workplace place;
  train_full(place);
  const Outcome outcome =
      place.run({"train", "tiny.yaml", "--set", "run.output_dir=lora", "--set", "model={path: full/final}",
                 "--set", "lora={r: 4}", "--set", "checkpoint.every_steps=6"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(scores(place, {"lora/checkpoints/step_6"}), scores(place, {"lora"}));
  const Outcome exported = place.run({"export", "lora/checkpoints/step_6", "peft", "--to", "peft"});
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_TRUE(place.read("peft/adapter_model.safetensors") ==
              place.read("lora/final/adapter_model.safetensors"));
}

TEST(CheckpointAsModel, StartsAnotherRun) {
  const Workplace place;
  train_full(place);
  const Outcome outcome = place.run({"train", "tiny.yaml", "--set", "run.output_dir=more", "--set",
                                     "model={path: full/checkpoints/step_3}", "--set", "train.max_steps=1"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST(CheckpointAsModel, NeedsItsRunAndNoCircle) {
  const Workplace place;
  train_full(place);
  fs::copy(place.path("full/checkpoints/step_6"), place.path("alone"), fs::copy_options::recursive);
  expect_refused(place.run({"score", "alone"}, kRow), "alone");
  fs::create_directories(place.path("a/b"));
  fs::rename(place.path("alone"), place.path("a/b/step_6"));
  expect_refused(place.run({"score", "a/b/step_6"}, kRow), "no run around it");
  std::string config = place.read("full/config.resolved.yaml");
  const std::string was = "path: null\n  family: llama";
  ASSERT_NE(config.find(was), std::string::npos) << config;
  config.replace(config.find(was), was.size(), "path: full/checkpoints/step_6");
  place.write("full/config.resolved.yaml", config);
  expect_refused(place.run({"score", "full/checkpoints/step_6"}, kRow), "name each other");
}

}  // namespace
}  // namespace phalanx::launch
