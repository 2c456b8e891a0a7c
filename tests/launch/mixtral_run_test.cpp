// A mixture of experts through the whole program: trained from nothing, adapted, reloaded.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;

std::string mixtral_config() {
  std::string config = test::tiny_config();
  const std::string dense = "family: llama, hidden_size: 48, intermediate_size: 96,";
  config.replace(config.find(dense), dense.size(),
                 "family: mixtral, hidden_size: 48, intermediate_size: 48, num_local_experts: 4,");
  return config;
}

Outcome train_mixtral(const Workplace& place, const std::string& name, const std::vector<std::string>& sets) {
  std::vector<std::string> arguments = {"train", "moe.yaml",     "--set", "run.output_dir=" + name,
                                        "--set", "run.threads=1"};
  for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
  return place.run(arguments);
}

std::vector<double> mixtral_losses(const Workplace& place, const std::string& name) {
  return test::metrics(place, name, {"loss"});
}

TEST(MixtralRun, LearnsInTwentySteps) {
  const Workplace place;
  place.write("moe.yaml", mixtral_config());
  for (const char* precision : {"fp32", "bf16"}) {
    const Outcome outcome =
        train_mixtral(place, precision, {"train.max_steps=20", std::string("train.precision=") + precision});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::vector<double> all = mixtral_losses(place, precision);
    ASSERT_EQ(all.size(), 20U);
    EXPECT_LT(all.back(), 0.8 * all.front()) << precision;
  }
  const Outcome inspected = place.run({"inspect", "fp32/final"});
  EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
  EXPECT_NE(inspected.out.find("model: mixtral with"), std::string::npos) << inspected.out;
  const Outcome scored = place.run({"score", "fp32/final"}, "{\"ids\": [1, 2, 3, 4, 5]}\n");
  EXPECT_EQ(scored.exit_code, 0) << scored.err;
  const Outcome exported = place.run({"export", "fp32/final", "final.gguf", "--to", "gguf"});
  EXPECT_EQ(exported.exit_code, 0) << exported.err;
  const Outcome read = place.run({"inspect", "final.gguf"});
  EXPECT_NE(read.out.find("model: mixtral with"), std::string::npos) << read.out << read.err;
}

TEST(MixtralRun, GivesEqualBitsForEverySplitOfTheBatchWhenMeshInvariant) {
  const Workplace place;
  place.write("moe.yaml", mixtral_config());
  std::string reference;
  for (const auto& [dp, micro] : {std::pair{1, 8}, {1, 1}, {2, 4}}) {
    const std::string name = "dp" + std::to_string(dp) + "_" + std::to_string(micro);
    const Outcome outcome = train_mixtral(
        place, name,
        {"run.determinism=mesh_invariant", "model.dtype=fp32", "parallel.dp=" + std::to_string(dp),
         "train.micro_batch_size=" + std::to_string(micro)});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::string weights = place.read(name + "/final/model.safetensors");
    ASSERT_FALSE(weights.empty());
    if (reference.empty()) reference = weights;
    EXPECT_TRUE(weights == reference) << name;
  }
}

TEST(MixtralRun, SharesOutExpertsOverRanksWithTheCurveOfOneAndGoesOnWithoutThem) {
  const Workplace place;
  place.write("moe.yaml", mixtral_config());
  const auto run = [&](const std::string& name, std::vector<std::string> sets) {
    sets.insert(sets.end(), {"train.precision=fp64", "schedule.name=constant", "checkpoint.every_steps=2"});
    const Outcome outcome = train_mixtral(place, name, sets);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return mixtral_losses(place, name);
  };
  const std::vector<double> one = run("one", {});
  const std::vector<std::string> experts = {"parallel.dp=2", "parallel.ep=2"};
  const std::vector<double> spread = run("spread", experts);
  ASSERT_EQ(spread.size(), one.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(spread[i], one[i], 1e-10 * one[i]) << i;
  std::vector<std::string> first = experts;
  first.insert(first.end(), {"parallel.zero_stage=3", "train.max_steps=2"});
  run("moved", first);
  const std::vector<double> moved = run("moved", {"parallel.tp=2"});
  ASSERT_FALSE(moved.empty());
  EXPECT_NEAR(moved.back(), one.back(), 1e-10 * one.back());
  const Outcome proved = place.run({"verify", "mesh", "moe.yaml", "--mesh", "dp=2,ep=2,zero=2", "--mesh",
                                    "pp=2,tp=2", "--set", "train.precision=fp32"});
  EXPECT_EQ(proved.exit_code, 0) << proved.out << proved.err;
  EXPECT_NE(proved.out.find("2 meshes, 0 beyond the limits"), std::string::npos) << proved.out;
}

TEST(MixtralRun, TrainsAnAdapterOnAttentionExpertsAndRouter) {
  const Workplace place;
  place.write("moe.yaml", mixtral_config());
  ASSERT_EQ(train_mixtral(place, "base", {"model.dtype=fp32"}).exit_code, 0);
  std::string config = mixtral_config();
  const size_t begin = config.find("model:"), end = config.find("data:");
  place.write("moe.yaml", config.replace(begin, end - begin, "model: {path: base/final}\nlora: {r: 4}\n"));
  const Outcome outcome = train_mixtral(place, "adapter", {"train.max_steps=20"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<double> all = mixtral_losses(place, "adapter");
  EXPECT_LT(all.back(), all.front());
  const auto adapter = nlohmann::json::parse(place.read("adapter/final/adapter_config.json"));
  EXPECT_EQ(adapter["target_modules"],
            (std::vector<std::string>{"gate", "k_proj", "o_proj", "q_proj", "v_proj", "w1", "w2", "w3"}));
  const Outcome merged = place.run({"merge", "base/final", "adapter/final", "merged"});
  EXPECT_EQ(merged.exit_code, 0) << merged.err;
}

TEST(MixtralRun, SaysThatKeysOfExpertsDoNotBelongToLlama) {
  const Workplace place;
  place.write("moe.yaml", test::tiny_config());
  const Outcome outcome = train_mixtral(place, "run", {"model.num_local_experts=4"});
  EXPECT_EQ(outcome.exit_code, 78);
  EXPECT_NE(outcome.err.find("model.num_local_experts is set but llama has no experts"), std::string::npos)
      << outcome.err;
  const Outcome loaded = place.run({"train", "moe.yaml", "--set", "model.family=null", "--set",
                                    "model.path=somewhere", "--set", "model.router_aux_loss_coef=0.1"});
  EXPECT_EQ(loaded.exit_code, 78);
  EXPECT_NE(loaded.err.find("model.router_aux_loss_coef is for new models"), std::string::npos) << loaded.err;
}

}  // namespace
}  // namespace phalanx::launch
