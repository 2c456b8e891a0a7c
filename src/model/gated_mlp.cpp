#include "model/activation_names.h"
#include "model/decoder.h"
#include "ops/activation.h"

namespace phalanx::model {
namespace {

class GatedMlp : public FeedForward {
 public:
  explicit GatedMlp(const TransformerConfig& c) : activation_(activation_of(c.hidden_act)) {
    gate_proj_ = register_module("gate_proj",
                                 std::make_shared<Linear>(c.hidden_size, c.intermediate_size, c.mlp_bias));
    up_proj_ =
        register_module("up_proj", std::make_shared<Linear>(c.hidden_size, c.intermediate_size, c.mlp_bias));
    down_proj_ = register_module("down_proj",
                                 std::make_shared<Linear>(c.intermediate_size, c.hidden_size, c.mlp_bias));
  }

  Output forward(const at::Tensor& x) const override {
    return {down_proj_->forward(ops::gated(gate_proj_->forward(x), up_proj_->forward(x), activation_))};
  }

 private:
  ops::Activation activation_;
  std::shared_ptr<Linear> gate_proj_, up_proj_, down_proj_;
};

}  // namespace

const FeedForwardKind& gated_mlp() {
  static const FeedForwardKind kind = {
      "mlp", [](const TransformerConfig& c, int64_t) -> std::shared_ptr<FeedForward> {
        return std::make_shared<GatedMlp>(c);
      }};
  return kind;
}

const std::vector<ShardRule>& gated_mlp_plan() {
  static const std::vector<ShardRule> plan = {{"model.layers.*.mlp.{gate,up}_proj", Shard::kColumn},
                                              {"model.layers.*.mlp.down_proj", Shard::kRow}};
  return plan;
}

}  // namespace phalanx::model
