#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/tokenizer.h"
#include "parallel/distributed_model.h"
#include "reward/reward.h"

namespace phalanx::trainer {

/// reward.terms as a run sets them up: opened and checked, but no model is read. Immutable.
class RewardTerms {
 public:
  /// @throws core::Error (78) if there is none, or what is wrong with one.
  RewardTerms(const core::Config& config, const data::Tokenizer& policy);

  std::string report() const;  ///< a line for each model

  /// What judges the policy's answers: each rank gives the same answers and gets all scores. Models are
  /// spread over the mesh (reward_model.h), other terms work on rank 0 alone, so that a program or endpoint
  /// is asked once. Collective, also to score with; must not outlive this.
  reward::WeightedRewards start(parallel::DistributedModel& policy) const;

 private:
  struct Term {
    std::string name;
    double weight;
    std::string report;
    std::function<std::shared_ptr<reward::Reward>(parallel::DistributedModel&)> start;
  };
  std::vector<Term> terms_;
};

}  // namespace phalanx::trainer
