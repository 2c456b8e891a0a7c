#include "generate/verify_export.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "model/golden_case.h"

namespace phalanx::generate {
namespace {

using core::DType;
using model::golden_path;

std::shared_ptr<model::CausalLm> load(const std::string& name) {
  return model::load_model(golden_path(name), at::kFloat);
}

TEST(FirstWrongTensor, IsNoneForWhatRoundingMakesOfTheSource) {
  const auto model = load("untied");
  const model::WeightSource weights = model::weights_of(*model);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const StoredModel source{model->config(), weights, DType::kF32};
    const StoredModel made{model->config(), rounded(weights, dtype, dtype), dtype};
    EXPECT_EQ(first_wrong_tensor(source, made), "");
    EXPECT_EQ(first_wrong_tensor(made, source), "") << "an import of the rounded one's source";
  }
}

TEST(FirstWrongTensor, NamesTheTensorThatHoldsOneChangedElement) {
  const auto model = load("untied");
  const model::WeightSource weights = model::weights_of(*model);
  const std::string changed = "model.layers.1.mlp.up_proj.weight";
  const auto other = [&](const std::string& name) {
    at::Tensor weight = weights(name).clone();
    if (name == changed) weight[3][5] += 0.01;
    return weight;
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::string wrong = first_wrong_tensor({model->config(), weights, DType::kF32},
                                                 {model->config(), rounded(other, dtype, dtype), dtype});
    EXPECT_EQ(wrong.substr(0, changed.size()), changed) << wrong;
    EXPECT_NE(wrong.find("is off by 1.0"), std::string::npos) << wrong;
  }
}

TEST(FirstWrongTensor, NamesATensorThatIsMissingOrTooMany) {
  const auto untied = load("untied"), tied = load("tied_llama3");
  const StoredModel a{untied->config(), model::weights_of(*untied), DType::kF32};
  const StoredModel b{tied->config(), model::weights_of(*tied), DType::kF32};
  EXPECT_NE(first_wrong_tensor(a, b), "");
  EXPECT_NE(first_wrong_tensor(b, a), "");
}

TEST(FirstDifferentTensor, NamesTheTensorWithOneOtherBit) {
  const auto a = load("untied"), b = load("untied");
  EXPECT_EQ(first_different_tensor(*a, *b), "");
  const std::string changed = "model.layers.1.mlp.up_proj.weight";
  const c10::NoGradGuard no_grad;
  at::Tensor weight = model::weights_of(*b)(changed);
  weight.view(at::kInt)[3][5] += 1;
  EXPECT_EQ(first_different_tensor(*a, *b), changed);
}

}  // namespace
}  // namespace phalanx::generate
