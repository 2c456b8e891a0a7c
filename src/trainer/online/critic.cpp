#include "trainer/online/critic.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "model/keyed_random.h"
#include "model/linear.h"
#include "ops/ops.h"
#include "trainer/sample_sums.h"
#include "trainer/saved_state.h"

namespace phalanx::trainer {
namespace {

const std::string kValueHead = std::string(kCriticPrefix) + "score";

class ValueHead : public Critic {
 public:
  explicit ValueHead(parallel::DistributedModel& model) : model_(model) {
    for (const auto& [path, module] : model.model().named_modules()) {
      if (path == kValueHead) head_ = std::dynamic_pointer_cast<const model::Linear>(module);
    }
  }

  at::Tensor values(const data::Batch& local) override {
    const at::NoGradGuard no_grad;
    const at::Device device = model_.parameters().options().device;
    const at::Tensor hidden = model_.schedule().forward(model_input(local, device)).hidden;
    return model_.has_output() ? values_beside(hidden) : at::Tensor();
  }

  at::Tensor values_beside(const at::Tensor& policy_hidden) const override {
    return row_scores(policy_hidden, model_.mesh().tp(),
                      [&](const at::Tensor& rows) { return ops::linear(rows, head_->weight); });
  }

 private:
  parallel::DistributedModel& model_;
  std::shared_ptr<const model::Linear> head_;  // null on ranks without the last layers
};

}  // namespace

void add_value_head(model::CausalLm& model, at::ScalarType dtype, uint64_t seed) {
  const auto critic = model.register_module("critic", std::make_shared<model::Module>());
  const auto score =
      critic->register_module("score", std::make_shared<model::Linear>(model.config().hidden_size, 1, false));
  const at::Tensor weight = at::empty(score->weight.sizes(), dtype);
  model::fill_normal(weight, model.config().initializer_range, seed, kValueHead + ".weight");
  const at::NoGradGuard no_grad;
  score->weight.set_data(weight);
}

std::unique_ptr<Critic> make_value_head(parallel::DistributedModel& model) {
  return std::make_unique<ValueHead>(model);
}

}  // namespace phalanx::trainer
