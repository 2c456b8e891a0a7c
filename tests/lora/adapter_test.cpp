#include "lora/adapter.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "model/golden_case.h"
#include "model/parameter.h"
#include "ops/cross_entropy.h"

namespace phalanx::lora {
namespace {

namespace fs = std::filesystem;
using model::golden_path;
using model::logits_of;
using model::max_difference;

const std::string kAdapter = std::string(PHALANX_SOURCE_DIR) + "/tests/lora/golden/adapter";

class AdapterTest : public testing::Test {
 protected:
  formats::SafetensorsFile golden_{kAdapter + ".safetensors"};
  model::ModelInput input_ = model::make_input(model::read_tensor(golden_, "ids"), model::kGoldenLengths);
  std::shared_ptr<model::CausalLm> base(at::ScalarType dtype = at::kDouble) {
    return model::load_model(golden_path("untied"), dtype);
  }
};

TEST_F(AdapterTest, LogitsLossAndGradientsEqualPeft) {
  const auto model = base();
  const Adapter adapter = load_adapter(*model, open_adapter(kAdapter), at::kDouble);
  const at::Tensor hidden = model->hidden(input_);
  EXPECT_LT(max_difference(at::linear(hidden, model->output_weight()), model::read_tensor(golden_, "logits")),
            1e-10);
  const at::Tensor loss =
      ops::linear_cross_entropy(hidden, model->output_weight(), model::shifted_labels(input_), 1.0);
  EXPECT_NEAR(loss.item<double>(), model::read_tensor(golden_, "loss").item<double>(), 1e-10);
  loss.backward();
  const auto trainable = model::trainable_parameters(*model);
  EXPECT_EQ(trainable.size(), 2 * adapter.modules().size());
  for (const auto& [name, parameter] : trainable) {
    EXPECT_LT(max_difference(parameter.grad(), model::read_tensor(golden_, "grad." + name)), 1e-10) << name;
  }
}

TEST_F(AdapterTest, MergedWeightsEqualPeftAndAnswerLikeTheAdapter) {
  const auto model = base();
  const Adapter adapter = load_adapter(*model, open_adapter(kAdapter), at::kDouble);
  const model::WeightSource merged = adapter.merged(*model);
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  EXPECT_LT(max_difference(merged(name), model::read_tensor(golden_, "merged." + name)), 1e-14);
  const auto plain = base();
  const at::NoGradGuard no_grad;
  for (auto& [key, parameter] : model::all_parameters(*plain)) at::Tensor(parameter).copy_(merged(key));
  EXPECT_LT(max_difference(logits_of(*plain, input_), logits_of(*model, input_)), 1e-12);
}

TEST_F(AdapterTest, FewRowsAndWholeForwardAgree) {
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = base(dtype);
    load_adapter(*model, open_adapter(kAdapter), dtype);
    const at::Tensor ids = at::arange(30) % 48;
    const at::Tensor whole =
        model->hidden(model::make_input(ids, {30}));  // more rows than the decoding path takes
    const at::Tensor few = model->hidden(model::make_input(ids.slice(0, 0, 9), {9}));
    EXPECT_LT(max_difference(whole.slice(0, 0, 9), few), dtype == at::kFloat ? 2e-5 : 0.2);
  }
}

TEST_F(AdapterTest, AFreshAdapterChangesNothingAndTrainsOnlyItself) {
  const auto model = base();
  const at::Tensor before = logits_of(*model, input_).detach();
  Adapter adapter = apply(*model, {.r = 4, .alpha = 8}, /*seed=*/1, at::kDouble);
  EXPECT_EQ(adapter.modules().size(), 14U);
  EXPECT_TRUE(at::equal(logits_of(*model, input_).detach(), before));
  for (const auto& [name, parameter] : model::all_parameters(*model)) {
    EXPECT_EQ(parameter.requires_grad(), name.find(".lora_") != std::string::npos) << name;
  }
  const at::NoGradGuard no_grad;
  const AdaptedLinear& first = adapter.modules().front();
  EXPECT_LE(first.a.abs().max().item<double>(), 1.0 / 4);  // 1 / sqrt(16)
  EXPECT_NEAR(first.a.std().item<double>(), 0.25 / std::sqrt(3.0), 0.03);
  at::Tensor(first.b).fill_(0.5);
  EXPECT_FALSE(at::equal(logits_of(*model, input_), before));
  adapter.set_enabled(false);
  EXPECT_TRUE(at::equal(logits_of(*model, input_), before));
}

TEST_F(AdapterTest, SavedAdaptersLoadToTheSameBits) {
  const fs::path folder = fs::temp_directory_path() / ("phalanx_lora_test_" + std::to_string(getpid()));
  const auto model = base(at::kFloat);
  const Adapter adapter =
      apply(*model,
            {.r = 2, .alpha = 3, .target_modules = {"q_proj", "layers.1.mlp.down_proj"}, .use_rslora = true},
            9, at::kFloat);
  {
    const at::NoGradGuard no_grad;
    for (const AdaptedLinear& m : adapter.modules()) at::Tensor(m.b).normal_();
  }
  save_adapter(folder, adapter, model::weights_of(*model), core::DType::kF32, "some/base");
  const auto again = base(at::kFloat);
  const Adapter loaded = load_adapter(*again, open_adapter(folder), at::kFloat);
  ASSERT_EQ(loaded.modules().size(), adapter.modules().size());
  EXPECT_EQ(adapter.modules().size(), 3U);
  for (size_t i = 0; i < loaded.modules().size(); ++i) {
    EXPECT_EQ(loaded.modules()[i].module, adapter.modules()[i].module);
    EXPECT_DOUBLE_EQ(loaded.modules()[i].scale, adapter.modules()[i].scale);
    EXPECT_TRUE(at::equal(loaded.modules()[i].a, adapter.modules()[i].a));
    EXPECT_TRUE(at::equal(loaded.modules()[i].b, adapter.modules()[i].b));
  }
  // An adapter whose config names fewer modules than the file has tensors is refused, not read in part.
  nlohmann::json config = nlohmann::json::parse(std::ifstream(folder / "adapter_config.json"));
  config["target_modules"] = {"q_proj"};
  std::ofstream(folder / "adapter_config.json") << config;
  const auto third = base(at::kFloat);
  EXPECT_THROW(load_adapter(*third, open_adapter(folder), at::kFloat), core::Error);
  fs::remove_all(folder);
}

TEST_F(AdapterTest, UnknownTargetsListTheKnownOnes) {
  const auto model = base();
  try {
    apply(*model, {.target_modules = {"w_proj"}}, 0, at::kFloat);
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_NE(std::string(error.what()).find("down_proj, gate_proj, k_proj"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace phalanx::lora
