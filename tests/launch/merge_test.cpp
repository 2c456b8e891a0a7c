// phalanx merge with several adapters, as a user runs it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;

/// A tiny model "base/final" and two adapters on it, "first/final" and "second/final".
class SeveralAdapters : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    std::string config = test::tiny_config();
    train(config, "base", {"model.dtype=fp32"});
    const size_t begin = config.find("model:"), end = config.find("data:");
    config.replace(begin, end - begin, "model: {path: base/final}\nlora: {r: 4}\n");
    train(config, "first", {"run.seed=1", "optimizer.learning_rate=0.01"});
    train(config, "second", {"run.seed=2", "optimizer.learning_rate=0.01"});
  }
  static void TearDownTestSuite() { delete place_; }

  static void train(const std::string& config, const std::string& name, std::vector<std::string> sets) {
    place_->write(name + ".yaml", config);
    std::vector<std::string> words = {"train", name + ".yaml"};
    sets.push_back("run.output_dir=" + name);
    for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
    const Outcome outcome = place_->run(words);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  static Outcome merge(std::vector<std::string> words) {
    words.insert(words.begin(), {"merge", "base/final"});
    return place_->run(words);
  }
  /// log p of a text, as one string.
  static std::string score(const std::string& model) {
    const Outcome outcome = place_->run({"score", model, "--set", "train.precision=fp32"},
                                        "{\"text\": \"a word and another\"}\n");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  }

  static Workplace* place_;
};
Workplace* SeveralAdapters::place_ = nullptr;

TEST_F(SeveralAdapters, AreMergedByEveryMethodAndVerified) {
  const std::vector<std::vector<std::string>> methods = {{"linear"},
                                                         {"cat"},
                                                         {"svd", "--svd-rank", "6"},
                                                         {"ties", "--density", "0.5"},
                                                         {"dare_linear", "--density", "0.7"},
                                                         {"magnitude_prune", "--density", "0.5"}};
  const std::string base = score("base/final");
  for (const std::vector<std::string>& method : methods) {
    const std::string to = "merged-" + method[0];
    std::vector<std::string> words = {"first/final=0.75", "second/final=0.5", to, "--method"};
    words.insert(words.end(), method.begin(), method.end());
    const Outcome outcome = merge(words);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto record = nlohmann::json::parse(place_->read(to + "/verification.json"));
    EXPECT_NE(record.dump().find("first/final=0.75 + second/final=0.5"), std::string::npos) << record;
    EXPECT_NE(score(to), base) << method[0];
  }
}

TEST_F(SeveralAdapters, OneWithWeightOneIsThatAdapter) {
  ASSERT_EQ(merge({"first/final", "second/final=0", "with-nothing", "--method", "cat"}).exit_code, 0);
  ASSERT_EQ(merge({"first/final", "alone"}).exit_code, 0);
  EXPECT_EQ(score("with-nothing"), score("alone"));
}

TEST_F(SeveralAdapters, BecomeOneAdapter) {
  const Outcome outcome = merge({"first/final", "second/final", "both", "--to", "peft", "--method", "cat"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(place_->read("both/adapter_config.json"))["r"], 8);
}

TEST_F(SeveralAdapters, RefusesWhatIsNoWeightNoAdapterOrNoMethod) {
  const std::vector<std::tuple<std::vector<std::string>, int, std::string>> cases = {
      {{"first/final=half", "second/final", "out"}, 78, "\"half\" is no weight"},
      {{"first/final", "base/final", "out"}, 65, "base/final: is no adapter"},
      {{"first/final", "second/final", "out", "--method", "average"}, 78, "average"},
      {{"first/final", "second/final", "out", "--majority-sign", "most"}, 78, "known are total, frequency"},
      {{"first/final", "nowhere", "out"}, 65, "nowhere"},
  };
  for (const auto& [words, code, text] : cases) {
    const Outcome outcome = merge(words);
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(place_->path("out")));
  }
}

}  // namespace
}  // namespace phalanx::launch
