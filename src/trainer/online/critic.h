#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "data/batch.h"
#include "model/causal_lm.h"
#include "parallel/distributed_model.h"
#include "trainer/method.h"

namespace phalanx::trainer {

/// The loss of a micro-batch from V of its rows [N].
using ValueLoss = std::function<at::Tensor(const at::Tensor& values, const data::Batch& local)>;

/// What estimates the value V of an answer so far: the discounted rewards to come. The row that predicts a
/// token says it of the tokens before.
class Critic {
 public:
  virtual ~Critic() = default;
  /// V of each row [N] of a micro-batch, without a gradient; undefined on ranks without the last layers.
  /// Collective over the mesh.
  virtual at::Tensor values(const data::Batch& local) = 0;
  /// V of rows [N] from what the policy's forward leaves: differentiable; undefined where the critic has a
  /// forward of its own.
  virtual at::Tensor values_beside(const at::Tensor& policy_hidden) const {
    (void)policy_hidden;
    return {};
  }
  /// The models of its own that it trains. @param loss  outlives them.
  virtual std::vector<Companion> companions(const ValueLoss& loss) {
    (void)loss;
    return {};
  }
  /// Method::write_companions.
  virtual void write(const std::filesystem::path& final_folder) { (void)final_folder; }
};

/// A row "critic.score.weight" [1, h] on the policy's last hidden states, one more parameter of the same
/// model, under an adapter, too. Normal with the model's initializer_range, as a new score of a reward model.
void add_value_head(model::CausalLm& model, at::ScalarType dtype, uint64_t seed);
/// Of a model that has one. `model` must outlive it.
std::unique_ptr<Critic> make_value_head(parallel::DistributedModel& model);

}  // namespace phalanx::trainer
