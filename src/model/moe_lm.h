#pragma once
#include <memory>

#include "model/decoder.h"
#include "model/moe.h"

namespace phalanx::model {

/// A decoder with experts, and what its routers add to the training loss.
class MoeLm : public DecoderLm {
 public:
  MoeLm(const TransformerConfig& config, const DecoderKind& kind) : DecoderLm(config, kind) {
    router_loss_ = register_module("router_loss", std::make_shared<RouterLoss>(config));
  }

  at::Tensor auxiliary_loss(const at::Tensor& router_sums) const override {
    return router_loss_->forward(router_sums);
  }
  int64_t num_router_sums() const override {
    return router_loss_->is_wanted() ? 2 * config().num_local_experts + 2 : 0;
  }

 private:
  std::shared_ptr<RouterLoss> router_loss_;
};

}  // namespace phalanx::model
