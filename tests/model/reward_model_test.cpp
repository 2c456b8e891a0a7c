#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "model/config_json.h"
#include "model/golden_case.h"
#include "model/initialize.h"
#include "model/load.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::model {
namespace {

/// tests/model/golden/make_reward_golden.py: what transformers' LlamaForSequenceClassification answers.
class RewardModel : public testing::Test {
 protected:
  static at::Tensor last_scores(CausalLm& model, const at::Tensor& ids) {
    const at::Tensor hidden = model.hidden(make_input(ids, kGoldenLengths));
    const at::Tensor scores = model.head().scores(hidden, model.output_weight(), {});
    std::vector<int64_t> last;
    int64_t end = 0;
    for (const int32_t length : kGoldenLengths) last.push_back((end += length) - 1);
    return scores.index_select(0, at::tensor(last, at::kLong)).select(1, 0).detach();
  }

  const formats::SafetensorsFile file_{golden_path("reward.safetensors")};
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("phalanx_reward_" + std::to_string(getpid()));
  ~RewardModel() override { std::filesystem::remove_all(folder_); }
};

TEST_F(RewardModel, ScoresAsTransformersDoes) {
  const auto model = load_model(golden_path("reward"), at::kDouble);
  EXPECT_EQ(model->config().num_labels, 1);
  const at::Tensor apart = last_scores(*model, read_tensor(file_, "ids")) - read_tensor(file_, "scores");
  EXPECT_LE(apart.abs().max().item<double>(), 1e-10);
}

TEST_F(RewardModel, IsSavedAsWhatItWasLoadedFrom) {
  const auto model = load_model(golden_path("reward"), at::kDouble);
  save_hf(folder_, *model, weights_of(*model), core::DType::kF64);
  const auto again = load_model(folder_, at::kDouble);
  EXPECT_EQ(again->config(), model->config());
  const formats::HfConfig config(folder_ / "config.json");
  EXPECT_EQ(config.texts("architectures"), std::vector<std::string>{"LlamaForSequenceClassification"});
  for (const auto& [name, parameter] : all_parameters(*model))
    EXPECT_TRUE(at::equal(parameter, again->parameter(name))) << name;
}

TEST_F(RewardModel, ComesOutOfALanguageModelWithANewScore) {
  for (const char* name : {"untied", "tied_llama3"}) {
    const ModelFiles files = ModelFiles::open(golden_path(name)).as_scoring(1);
    EXPECT_TRUE(files.has_new_score());
    check_model(files);
    std::vector<at::Tensor> scores;
    for (int run = 0; run < 2; ++run) {
      const auto model = build(files.config());
      load_weights(*model, files, at::kDouble);
      initialize(*model, at::kDouble, 5);
      scores.push_back(model->parameter(kScoreWeight));
      EXPECT_THROW((void)model->parameter("lm_head.weight"), core::Error);
    }
    EXPECT_TRUE(at::equal(scores[0], scores[1]));
    EXPECT_NEAR(scores[0].std().item<double>(), files.config().initializer_range, 0.01);
  }
}

TEST_F(RewardModel, KeepsTheScoreThatItHas) {
  const ModelFiles files = ModelFiles::open(golden_path("reward")).as_scoring(1);
  EXPECT_FALSE(files.has_new_score());
  EXPECT_EQ(files.config().num_labels, 1);
}

}  // namespace
}  // namespace phalanx::model
