// A run is a function of (config, data, seed), not of how it is spread: design law 1, on the whole program.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;
using Sets = std::vector<std::string>;

Outcome train(const Workplace& place, const std::string& name, int dp, int micro_batch_size, Sets sets) {
  std::vector<std::string> arguments = {"train", "tiny.yaml"};
  for (const std::string& set :
       {"run.output_dir=" + name, "parallel.dp=" + std::to_string(dp), std::string("data.cache_dir=cache"),
        "train.micro_batch_size=" + std::to_string(micro_batch_size)})
    sets.push_back(set);
  for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
  return place.run(arguments);
}

/// What a run leaves behind: the bits of its last checkpoint's weights are those of final/ in fp32.
std::string final_weights(const Workplace& place, const std::string& name) {
  const std::string model = place.read(name + "/final/model.safetensors");
  return model.empty() ? place.read(name + "/final/adapter_model.safetensors") : model;
}

void expect_equal_bits(const Workplace& place, const Sets& sets) {
  std::string reference;
  for (const auto& [dp, micro] : {std::pair{1, 1}, {1, 2}, {1, 8}, {2, 1}, {2, 4}, {4, 2}}) {
    const std::string name = "dp" + std::to_string(dp) + "_" + std::to_string(micro);
    const Outcome outcome = train(place, name, dp, micro, sets);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::string weights = final_weights(place, name);
    ASSERT_FALSE(weights.empty());
    if (reference.empty()) reference = weights;
    EXPECT_TRUE(weights == reference) << "dp " << dp << ", micro_batch_size " << micro;
  }
}

const Sets kInvariant = {"run.determinism=mesh_invariant", "train.max_steps=20", "eval.every_steps=0",
                         "checkpoint.every_steps=0", "model.dtype=fp32"};

Sets with(Sets sets, const Sets& more) {
  sets.insert(sets.end(), more.begin(), more.end());
  return sets;
}

TEST(MeshInvariance, GivesEqualBitsForEverySplitOfTheBatch) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  expect_equal_bits(place, kInvariant);
}

TEST(MeshInvariance, GivesEqualBitsInBf16) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  expect_equal_bits(place, with(kInvariant, {"train.precision=bf16"}));
}

TEST(MeshInvariance, GivesEqualBitsForAnAdapter) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  ASSERT_EQ(train(place, "base", 1, 8, {"model.dtype=fp32"}).exit_code, 0);
  std::string config = test::tiny_config();
  const size_t begin = config.find("model:"), end = config.find("data:");
  place.write("tiny.yaml",
              config.replace(begin, end - begin, "model: {path: base/final}\nlora: {r: 4, dropout: 0.0}\n"));
  expect_equal_bits(place, {kInvariant.begin(), kInvariant.end() - 1});
}

TEST(MeshInvariance, OfTheOrdinaryModeIsRoundingOnlyInFp64) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  double reference_loss = 0, reference_norm = 0;
  for (const auto& [dp, micro] : {std::pair{1, 8}, {1, 1}, {2, 2}, {2, 4}, {4, 1}}) {
    const std::string name = "fp64_" + std::to_string(dp) + "_" + std::to_string(micro);
    const Outcome outcome = train(
        place, name, dp, micro,
        {"train.precision=fp64", "train.max_steps=2", "eval.every_steps=0", "checkpoint.every_steps=0"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    std::string text = place.read(name + "/metrics.jsonl");
    text.pop_back();
    const auto row = nlohmann::json::parse(text.substr(text.rfind('\n') + 1));  // step 2: after one update
    const double loss = row["loss"], norm = row["grad_norm"];
    if (reference_loss == 0) reference_loss = loss, reference_norm = norm;
    EXPECT_NEAR(loss / reference_loss, 1.0, 1e-12) << name;
    EXPECT_NEAR(norm / reference_norm, 1.0, 1e-12) << name;
  }
}

}  // namespace
}  // namespace phalanx::launch
