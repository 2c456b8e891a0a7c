#pragma once
#include <memory>
#include <optional>

#include "core/config.h"
#include "lora/adapter.h"
#include "trainer/model_setup.h"
#include "trainer/online/critic.h"

namespace phalanx::trainer {

/// A critic that is a model of its own, with a score in place of an output matrix: method.value_model (a
/// reward model, a language model with a new score, or the adapter of a reward model), else a copy of the
/// policy's files with a new score. It trains what the policy trains: all weights, or, with section `lora`,
/// an adapter and the score (a fresh one, or that of value_model).
class SeparateCritic {
 public:
  /// @throws core::Error (65) for files that cannot be read, (78) where its tokens are not the policy's.
  SeparateCritic(const core::Config& config, const ModelSetup& policy);

  /// Spread over the mesh of the policy in the same way; both must outlive it. Collective.
  std::unique_ptr<Critic> start(parallel::DistributedModel& policy) const;

  TrainedModel build(at::ScalarType compute) const;
  const ModelSetup& setup() const { return *setup_; }
  uint64_t seed() const { return seed_; }

 private:
  void open(const core::Config& config, const ModelSetup& policy);

  uint64_t seed_;
  std::optional<ModelSetup> setup_;
  std::optional<lora::AdapterFiles> stored_;  // its adapter
  std::optional<lora::LoraOptions> fresh_;    // or a new one
};

}  // namespace phalanx::trainer
