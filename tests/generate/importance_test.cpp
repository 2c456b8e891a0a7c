#include "generate/importance.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include <filesystem>

#include "core/error.h"
#include "formats/gguf_writer.h"
#include "generate/verify_export.h"
#include "model/golden_case.h"
#include "model/linear.h"

namespace phalanx::generate {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<model::CausalLm> untied() {
  return model::load_model(model::golden_path("untied"), at::kFloat);
}

TEST(Importance, IsTheMeanSquareOfWhatALinearIsGiven) {
  const auto model = untied();
  const c10::NoGradGuard no_grad;
  const std::vector<int32_t> ids = {1, 5, 7, 2, 9, 4, 11};
  const model::Importance importance = gather_importance(*model, ids, /*sequence_length=*/4);

  // The first layer's q, k and v see the normed embeddings.
  const model::WeightSource weights = model::weights_of(*model);
  const at::Tensor rows =
      weights("model.embed_tokens.weight")
          .index_select(0, at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong));
  const at::Tensor normed = rows * (rows.square().mean(-1, true) + model->config().rms_norm_eps).rsqrt() *
                            weights("model.layers.0.input_layernorm.weight");
  const at::Tensor expected = normed.square().mean(0);
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const std::vector<float>& found = importance.at(fmt::format("model.layers.0.self_attn.{}.weight", name));
    EXPECT_LE((at::tensor(found) - expected).abs().max().item<double>(), 1e-5) << name;
  }
  for (const auto& [name, values] : importance) {
    EXPECT_EQ(static_cast<int64_t>(values.size()), weights(name).size(1)) << name;
    EXPECT_GT(*std::max_element(values.begin(), values.end()), 0) << name;
  }
  EXPECT_EQ(importance.size(), size_t(7 * model->config().num_hidden_layers));
}

TEST(Importance, LeavesTheModelAsItWas) {
  const auto model = untied(), other = untied();
  gather_importance(*model, {1, 2, 3});
  for (const auto& [name, module] : model->named_modules()) {
    const auto* linear = dynamic_cast<const model::Linear*>(module.get());
    EXPECT_TRUE(linear == nullptr || linear->is_plain()) << name;
  }
  EXPECT_EQ(compare(*model, *other, {{1, 2, 3, 4}}).max_difference, 0);
}

TEST(Importance, IsTheSameFromOneTextInPiecesOfAnyLengthBeforeAttention) {
  const auto model = untied();
  const std::vector<int32_t> ids = {1, 5, 7, 2, 9, 4, 11};
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  const std::vector<float> whole = gather_importance(*model, ids).at(name),
                           pieces = gather_importance(*model, ids, 2).at(name);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(whole[i], pieces[i], 1e-6);
}

TEST(Importance, RefusesATextWithoutTokens) {
  EXPECT_THROW(gather_importance(*untied(), {}), core::Error);
}

class ImportanceFile : public ::testing::Test {
 protected:
  ImportanceFile() : path_(fs::temp_directory_path() / fmt::format("phalanx-imatrix-{}.gguf", getpid())) {}
  ~ImportanceFile() override { fs::remove(path_); }

  void write(const std::string& tensor, const std::vector<float>& sums, float count,
             const std::string& type = "imatrix") {
    fs::remove(path_);
    formats::GgufPairs pairs;
    pairs.text("general.type", type);
    formats::GgufWriter writer(path_,
                               {{tensor + ".in_sum2", core::DType::kF32, {1, int64_t(sums.size())}},
                                {tensor + ".counts", core::DType::kF32, {1, 1}}},
                               pairs);
    writer.write_floats(tensor + ".in_sum2", sums);
    writer.write_floats(tensor + ".counts", std::vector<float>{count});
    writer.finish();
  }
  std::string refusal() {
    try {
      read_importance(path_, *untied());
    } catch (const core::Error& error) {
      EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
      return error.what();
    }
    return "";
  }

  fs::path path_;
};

TEST_F(ImportanceFile, OfLlamaCppGivesMeansUnderHuggingFacesNames) {
  const auto model = untied();
  const auto columns = size_t(model->config().hidden_size);
  write("blk.1.ffn_up.weight", std::vector<float>(columns, 6), 4);
  const model::Importance importance = read_importance(path_, *model);
  ASSERT_EQ(importance.size(), 1u);
  EXPECT_EQ(importance.at("model.layers.1.mlp.up_proj.weight"), std::vector<float>(columns, 1.5f));
}

TEST_F(ImportanceFile, ThatDoesNotFitIsRefused) {
  const auto columns = size_t(untied()->config().hidden_size);
  write("blk.1.ffn_up.weight", std::vector<float>(columns, 6), 4, "model");
  EXPECT_NE(refusal().find("general.type is not imatrix"), std::string::npos);
  write("blk.77.ffn_up.weight", std::vector<float>(columns, 6), 4);
  EXPECT_NE(refusal().find("is not of this model, which has no blk.77.ffn_up.weight"), std::string::npos);
  write("blk.1.ffn_up.weight", std::vector<float>(columns + 1, 6), 4);
  EXPECT_NE(refusal().find("is not of this model"), std::string::npos);
  write("blk.1.ffn_up.weight", std::vector<float>(columns, 6), 0);
  EXPECT_NE(refusal().find("counts must be one number above 0"), std::string::npos);
  write("blk.1.ffn_up.weight", std::vector<float>(columns, -6), 4);
  EXPECT_NE(refusal().find("no sums of squares"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::generate
