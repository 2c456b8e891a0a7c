// Adapters on a mixture of experts, as PEFT reads them: under the names of the files, router included.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "lora/adapter.h"
#include "model/golden_case.h"
#include "model/parameter.h"
#include "ops/cross_entropy.h"

namespace phalanx::lora {
namespace {

using model::golden_path;
using model::max_difference;

const std::string kMixtralAdapter = std::string(PHALANX_SOURCE_DIR) + "/tests/lora/golden/mixtral_adapter";

class MixtralAdapter : public testing::Test {
 protected:
  std::shared_ptr<model::CausalLm> base(at::ScalarType dtype = at::kDouble) const {
    return model::load_model(golden_path("mixtral"), dtype);
  }
  formats::SafetensorsFile golden_{kMixtralAdapter + ".safetensors"};
  model::ModelInput input_ = model::make_input(model::read_tensor(golden_, "ids"), model::kGoldenLengths);
};

TEST_F(MixtralAdapter, LogitsAndAuxiliaryLossEqualPeft) {
  const auto model = base();
  const Adapter adapter = load_adapter(*model, open_adapter(kMixtralAdapter), at::kDouble);
  EXPECT_EQ(adapter.modules().size(), 2U * (4 + 1 + 4 * 3));
  const model::LayersOutput out = model->forward(input_);
  EXPECT_LT(
      max_difference(at::linear(out.hidden, model->output_weight()), model::read_tensor(golden_, "logits")),
      1e-11);
  EXPECT_NEAR(model->auxiliary_loss(out.router_sums).item<double>() / model->config().router_aux_loss_coef,
              model::read_tensor(golden_, "aux_loss").item<double>(), 1e-12);
}

TEST_F(MixtralAdapter, AllLinearMeansAttentionExpertsAndRouterAsInPeft) {
  const auto model = base();
  const formats::AdapterConfig config = adapter_config(*model, {});
  EXPECT_EQ(config.target_modules,
            (std::vector<std::string>{"gate", "k_proj", "o_proj", "q_proj", "v_proj", "w1", "w2", "w3"}));
}

TEST_F(MixtralAdapter, GradientsAreThoseOfTheMergedWeightsAndReachEveryFactor) {
  const auto model = base();
  const Adapter adapter = load_adapter(*model, open_adapter(kMixtralAdapter), at::kDouble);
  const auto plain = base();
  {
    const at::NoGradGuard no_grad;
    const model::WeightSource merged = adapter.merged(*model);
    for (auto& [key, parameter] : model::all_parameters(*plain)) at::Tensor(parameter).copy_(merged(key));
  }
  // The short sample leaves experts without tokens.
  const formats::SafetensorsFile file(golden_path("mixtral.safetensors"));
  for (const model::ModelInput& input :
       {input_, model::make_input(model::read_tensor(file, "short.ids"), {2})}) {
    for (const auto& m : {model, plain}) {
      for (const auto& [name, parameter] : model::trainable_parameters(*m)) parameter.mutable_grad().reset();
      const model::LayersOutput out = m->forward(input);
      (ops::linear_cross_entropy(out.hidden, m->output_weight(), model::shifted_labels(input), 1.0) +
       m->auxiliary_loss(out.router_sums))
          .backward();
    }
    for (const AdaptedLinear& m : adapter.modules()) {
      ASSERT_TRUE(m.a.grad().defined()) << m.module;
      const at::Tensor w = plain->parameter(m.module + ".weight").grad() * m.scale;  // dL/dW, scaled
      const double scale = std::max(1.0, w.abs().max().item<double>());
      EXPECT_LT(max_difference(m.a.grad(), m.b.t().matmul(w)) / scale, 1e-12) << m.module;
      EXPECT_LT(max_difference(m.b.grad(), w.matmul(m.a.t())) / scale, 1e-12) << m.module;
    }
  }
}

TEST_F(MixtralAdapter, AnExpertWithoutTokensGetsZerosInEveryDtype) {
  const formats::SafetensorsFile file(golden_path("mixtral.safetensors"));
  const model::ModelInput input = model::make_input(model::read_tensor(file, "short.ids"), {2});
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const auto model = base(dtype);
    const Adapter adapter = load_adapter(*model, open_adapter(kMixtralAdapter), dtype);
    model->forward(input).hidden.sum().backward();
    int idle = 0;
    for (const AdaptedLinear& m : adapter.modules()) {
      ASSERT_TRUE(m.a.grad().defined() && m.b.grad().defined()) << m.module;
      EXPECT_TRUE(at::isfinite(m.a.grad()).all().item<bool>()) << m.module;
      idle += m.a.grad().abs().max().item<double>() == 0 && m.b.grad().abs().max().item<double>() == 0;
    }
    EXPECT_GE(idle, 3) << dtype;
  }
}

TEST_F(MixtralAdapter, DecodesTokenByTokenLikeTheWholeForward) {
  const at::NoGradGuard no_grad;
  const auto model = base(at::kFloat);
  load_adapter(*model, open_adapter(kMixtralAdapter), at::kFloat);
  const at::Tensor whole = model->hidden(model::make_input(at::arange(30) % 48, {30}));
  const at::Tensor few = model->hidden(model::make_input(at::arange(3), {3}));
  EXPECT_LT(max_difference(whole.slice(0, 0, 3), few), 5e-5);
}

}  // namespace
}  // namespace phalanx::lora
