// Adapters that PEFT puts on the parameters in which transformers 5 holds all experts of a layer.
#include "lora/expert_parameters.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "lora/adapted_product.h"
#include "lora/made_tensors.h"
#include "model/golden_case.h"

namespace phalanx::lora {
namespace {

using model::golden_path;

class ExpertParameters : public testing::Test {
 protected:
  ExpertParameters() {
    files_.path = "adapter";
    files_.has_peft_names = true;
    files_.config.r = 2;
    files_.config.lora_alpha = 3;
    files_.config.target_modules = {"q_proj"};
    files_.config.target_parameters = {"mlp.experts.gate_up_proj", "down_proj", "gate.weight"};
    files_.config.rank_pattern = {{".*\\.gate_up_proj", 4}};
    files_.config.alpha_pattern = {{".*\\.gate_up_proj", 8}};
    const model::TransformerConfig& c = model_->config();
    experts_ = c.num_local_experts;
    rows_ = c.expert_size();
    for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
      const std::string prefix = fmt::format("base_model.model.model.layers.{}.", layer);
      add(prefix + "self_attn.q_proj", 2, c.hidden_size, c.num_attention_heads * c.head_dim, 1);
      add(prefix + "mlp.gate", 2, c.hidden_size, experts_, 1);
      add(prefix + "mlp.experts.base_layer", 4, c.hidden_size, 2 * rows_, experts_);
      add(prefix + "mlp.experts", 2, rows_, c.hidden_size, experts_);
    }
    files_.weights = tensors_;
  }

  void add(const std::string& module, int64_t r, int64_t in, int64_t out, int64_t copies) {
    a_[module] = at::rand({r * copies, in});
    b_[module] = at::rand({out, r * copies});
    tensors_->add(module + ".lora_A.weight", a_[module]);
    tensors_->add(module + ".lora_B.weight", b_[module]);
  }

  std::string refusal() {
    try {
      load_adapter(*model_, files_, at::kFloat, /*trainable=*/false);
    } catch (const core::Error& error) {
      return error.what();
    }
    return "";
  }

  std::shared_ptr<model::CausalLm> model_ = model::load_model(golden_path("mixtral"), at::kFloat);
  int64_t experts_ = 0, rows_ = 0;
  AdapterFiles files_;
  std::shared_ptr<MadeTensors> tensors_ = std::make_shared<MadeTensors>();
  std::map<std::string, at::Tensor> a_, b_;
};

TEST_F(ExpertParameters, GiveEachExpertItsPart) {
  const Adapter adapter = load_adapter(*model_, files_, at::kFloat, /*trainable=*/false);
  size_t checked = 0;
  for (const AdaptedLinear& m : adapter.modules()) {
    if (!m.module.starts_with("model.layers.1.block_sparse_moe.experts.2.")) continue;
    const std::string experts = "base_model.model.model.layers.1.mlp.experts";
    const bool is_down = m.module.ends_with("w2");
    const std::string module = is_down ? experts : experts + ".base_layer";
    const int64_t r = is_down ? 2 : 4;
    // dW_e = alpha / r B[:, :, e] A[e]
    at::Tensor delta =
        b_.at(module).view({-1, r, experts_}).select(2, 2).mm(a_.at(module).slice(0, 2 * r, 3 * r)) *
        (is_down ? 3.0 / 2 : 8.0 / 4);
    if (m.module.ends_with("w1")) delta = delta.slice(0, 0, rows_);
    if (m.module.ends_with("w3")) delta = delta.slice(0, rows_, 2 * rows_);
    EXPECT_LT(model::max_difference(merged_weight(m) - m.linear->weight, delta), 1e-5) << m.module;
    ++checked;
  }
  EXPECT_EQ(checked, 3U);
}

TEST_F(ExpertParameters, AreUsedAndMergedButNotTrainedOrWritten) {
  EXPECT_THROW(load_adapter(*model_, files_, at::kFloat), core::Error);
  const auto model = model::load_model(golden_path("mixtral"), at::kFloat);
  const Adapter adapter = load_adapter(*model, files_, at::kFloat, /*trainable=*/false);
  EXPECT_THROW(save_adapter("/nowhere", adapter, model::weights_of(*model), core::DType::kF32, ""),
               core::Error);
}

TEST_F(ExpertParameters, ThatDoNotFitAreRefused) {
  files_.config.rank_pattern.clear();
  EXPECT_NE(refusal().find("has no model.layers.0.mlp.experts.lora_A.weight [8, 16]"), std::string::npos)
      << refusal();
  files_.config.rank_pattern = {{".*\\.gate_up_proj", 4}};
  files_.config.target_parameters.push_back("norm.weight");
  EXPECT_NE(refusal().find("target_parameters names norm.weight"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace phalanx::lora
