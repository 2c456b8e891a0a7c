#include "generate/verify_export.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "model/golden_case.h"
#include "model/parameter.h"

namespace phalanx::generate {
namespace {

using core::DType;
using model::golden_path;

std::shared_ptr<model::CausalLm> load(const std::string& name) {
  return model::load_model(golden_path(name), at::kFloat);
}

StoredTypes all_in(DType dtype) {
  return [dtype](const std::string&) { return dtype; };
}

StoredModel stored(const model::CausalLm& model, const model::WeightSource& weights, StoredTypes types) {
  return {model.config(), model::rows_of(weights), std::move(types)};
}

/// Matrices in `dtype`, vectors in F32, as a GGUF file has them.
StoredTypes matrices_in(const model::CausalLm& model, DType dtype) {
  return [weights = model::weights_of(model), dtype](const std::string& name) {
    return weights(name).dim() < 2 ? DType::kF32 : dtype;
  };
}

std::string wrong_in(const StoredModel& source, const StoredModel& made) {
  const std::optional<WrongTensor> wrong = first_wrong_tensor(source, made);
  for (int64_t ranks = 2; wrong && ranks <= 3; ++ranks) {  // that share out the tensors find the same one
    const auto found =
        first_wrong_tensor(source, made, [&](int64_t i) { return i % ranks == wrong->index % ranks; });
    EXPECT_EQ(found->index, wrong->index);
    EXPECT_EQ(found->what, wrong->what);
  }
  return wrong ? wrong->what : "";
}

/// A model whose rows are whole blocks of every type.
std::shared_ptr<model::CausalLm> wide_model() {
  model::TransformerConfig config = load("untied")->config();
  config.hidden_size = config.intermediate_size = 256;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
  return model::new_model(config, at::kFloat, 3);
}

TEST(FirstWrongTensor, IsNoneForWhatRoundingMakesOfTheSource) {
  const auto model = load("untied");
  const model::WeightSource weights = model::weights_of(*model);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const StoredModel source = stored(*model, weights, all_in(DType::kF32));
    const StoredModel made = stored(*model, rounded(weights, dtype), all_in(dtype));
    EXPECT_EQ(wrong_in(source, made), "");
    EXPECT_EQ(wrong_in(made, source), "") << "an import of the rounded one's source";
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
    const std::string wrong = wrong_in(stored(*model, weights, all_in(DType::kF32)),
                                       stored(*model, rounded(other, dtype), all_in(dtype)));
    EXPECT_EQ(wrong.substr(0, changed.size()), changed) << wrong;
    EXPECT_NE(wrong.find("is off by 1.0"), std::string::npos) << wrong;
  }
}

constexpr DType kBlockTypes[] = {DType::kQ8_0, DType::kQ6_K, DType::kQ5_K, DType::kQ5_1,
                                 DType::kQ5_0, DType::kQ4_K, DType::kQ4_1, DType::kQ4_0};

TEST(FirstWrongTensor, KnowsWhatEveryBlockTypeMakesOfAModel) {
  const auto model = wide_model();
  const model::WeightSource weights = model::weights_of(*model);
  const std::string changed = "model.layers.1.self_attn.k_proj.weight";
  const auto scaled = [&](const std::string& name) {
    return name == changed ? weights(name) * 2 : weights(name);
  };
  const auto reordered = [&](const std::string& name) {
    return name == changed ? weights(name).flip(0) : weights(name);
  };
  const StoredModel source = stored(*model, weights, all_in(DType::kF32));
  for (const DType dtype : kBlockTypes) {
    const StoredTypes types = matrices_in(*model, dtype);
    EXPECT_EQ(wrong_in(source, stored(*model, rounded(weights, types), types)), "") << core::name(dtype);
    for (const model::WeightSource& fault : {model::WeightSource(scaled), model::WeightSource(reordered)}) {
      const std::string wrong = wrong_in(source, stored(*model, rounded(fault, types), types));
      EXPECT_EQ(wrong.substr(0, changed.size()), changed) << core::name(dtype) << ": " << wrong;
    }
  }
}

TEST(Rounded, WithImportanceIsAnotherModel) {
  const auto model = wide_model();
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  std::vector<float> importance(256, 0.01f);
  importance[7] = 1;
  const StoredTypes types = matrices_in(*model, DType::kQ4_K);
  const model::WeightSource weights = model::weights_of(*model), plain = rounded(weights, types),
                            weighed = rounded(weights, types, {{name, importance}});
  const auto error_of_column = [&](const model::WeightSource& source) {
    return (source(name) - weights(name)).select(1, 7).square().sum().item<double>();
  };
  EXPECT_LT(error_of_column(weighed), 0.8 * error_of_column(plain));
  EXPECT_TRUE(weighed("model.norm.weight").equal(plain("model.norm.weight")));
}

TEST(Limits, AreWiderForFewerBits) {
  double kl = 0, agreement = 1;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ6_K, DType::kQ5_K,
                            DType::kQ4_K, DType::kQ4_0}) {
    const Limits limits = limits_of(dtype);
    EXPECT_GT(limits.mean_kl, kl) << core::name(dtype);
    EXPECT_LE(limits.top1_agreement, agreement) << core::name(dtype);
    kl = limits.mean_kl;
    agreement = limits.top1_agreement;
  }
}

TEST(Limits, OfAFileAreThoseOfItsCoarsestType) {
  const auto model = wide_model();
  const StoredTypes types = [](const std::string& name) {
    return name == "model.layers.1.self_attn.k_proj.weight" ? DType::kQ5_0 : DType::kQ8_0;
  };
  EXPECT_EQ(limits_of(*model, types).mean_kl, limits_of(DType::kQ5_0).mean_kl);
  EXPECT_EQ(limits_of(*model, all_in(DType::kF16)).mean_kl, limits_of(DType::kF16).mean_kl);
}

TEST(FirstWrongTensor, NamesATensorThatIsMissingOrTooMany) {
  const auto untied = load("untied"), tied = load("tied_llama3");
  const StoredModel a = stored(*untied, model::weights_of(*untied), all_in(DType::kF32));
  const StoredModel b = stored(*tied, model::weights_of(*tied), all_in(DType::kF32));
  EXPECT_NE(wrong_in(a, b), "");
  EXPECT_NE(wrong_in(b, a), "");
}

TEST(CheckRounding, FindsTheTensorWithOneOtherBit) {
  const auto model = load("untied");
  const model::NamedTensors tensors = model::all_parameters(*model);
  const model::WeightSource weights = model::weights_of(*model);
  const std::string changed = "model.layers.1.mlp.up_proj.weight";
  const auto other = [&](const std::string& name) {
    at::Tensor weight = weights(name).clone();
    if (name == changed) weight.view(at::kInt)[3][5] += 1;
    return weight;
  };
  const auto every = [](size_t) { return true; };
  const model::Importance none;
  const Rounding exact{model::rows_of(weights), all_in(DType::kF32), none};
  const Rounding lossy{model::rows_of(weights), all_in(DType::kBF16), none};
  const c10::NoGradGuard no_grad;
  RoundingCheck check = check_rounding(tensors, exact, model::rows_of(weights), every);
  EXPECT_FALSE(check.wrong);
  EXPECT_TRUE(check.is_exact);
  check = check_rounding(tensors, lossy, model::rows_of(rounded(weights, DType::kBF16)), every);
  EXPECT_FALSE(check.wrong);
  EXPECT_FALSE(check.is_exact);
  check = check_rounding(tensors, exact, model::rows_of(model::WeightSource(other)), every);
  ASSERT_TRUE(check.wrong);
  EXPECT_EQ(tensors[*check.wrong].first, changed);
  const auto not_it = [&](size_t i) { return tensors[i].first != changed; };
  EXPECT_FALSE(check_rounding(tensors, exact, model::rows_of(model::WeightSource(other)), not_it).wrong);
}

/// log p over the whole vocabulary, as a formula.
at::Tensor all_logprobs(model::CausalLm& model, const std::vector<int32_t>& ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const at::Tensor input = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  const at::Tensor hidden =
      model.hidden({input, at::arange(count, at::kLong), {0, static_cast<int32_t>(count)}});
  return at::log_softmax(at::matmul(hidden, model.output_weight().t()), -1).narrow(0, 0, count - 1);
}

TEST(Compare, IsWhatTheFormulasSayOfEachPrompt) {
  const auto a = load("untied"), b = load("untied");
  const c10::NoGradGuard no_grad;
  model::weights_of (*b)("lm_head.weight").mul_(1.5);
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3, 4, 5}, {7}, {3, 9, 2}};
  const Comparison comparison = compare(*a, *b, prompts);
  double kl = 0, largest = 0, same = 0;
  for (const size_t p : {size_t{0}, size_t{2}}) {
    const at::Tensor pa = all_logprobs(*a, prompts[p]), pb = all_logprobs(*b, prompts[p]);
    const at::Tensor next =
        at::tensor(std::vector<int64_t>(prompts[p].begin() + 1, prompts[p].end()), at::kLong).unsqueeze(1);
    largest = std::max(largest, (pa - pb).gather(1, next).abs().max().item<double>());
    kl += (pa.exp() * (pa - pb)).sum().item<double>();
    same += (pa.argmax(-1) == pb.argmax(-1)).sum().item<double>();
  }
  EXPECT_EQ(comparison.num_tokens, 6);
  EXPECT_NEAR(comparison.max_difference, largest, 1e-5);
  EXPECT_NEAR(comparison.mean_kl, kl / 6, 1e-6);
  EXPECT_NEAR(comparison.top1_agreement, same / 6, 1e-12);
  EXPECT_GT(largest, 0.01);
}

}  // namespace
}  // namespace phalanx::generate
