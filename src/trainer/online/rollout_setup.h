#pragma once
#include <memory>
#include <optional>
#include <string>

#include "core/config.h"
#include "data/sampler.h"
#include "generate/rollout_options.h"
#include "trainer/model_setup.h"
#include "trainer/online/ledger.h"
#include "trainer/online/policy_options.h"
#include "trainer/online/prompts.h"
#include "trainer/online/reward_terms.h"
#include "trainer/online/rollout.h"

namespace phalanx::trainer {

/// What the answers of a run are made from, opened and checked before there is a model. Immutable.
class RolloutSetup {
 public:
  /// Collective over `group`. @throws core::Error (65, 78).
  RolloutSetup(const core::Config& config, const ModelSetup& setup, const PolicyOptions& options,
               comm::Communicator& group);

  std::string report() const;
  int64_t num_prompts() const;  ///< or recorded groups
  int64_t groups_per_generation() const;
  /// The prompt that stands at this place of the endless order of the data.
  Prompt prompt(int64_t sample) const;
  bool is_recorded() const { return options_.rollouts.has_value(); }
  Generation recorded(int64_t number) const;
  const PromptSet* eval() const { return eval_.get(); }  ///< null where there is none

  const PolicyOptions& options() const { return options_; }
  const data::Tokenizer& tokenizer() const { return tokenizer_; }
  uint64_t seed() const { return seed_; }
  const generate::RolloutOptions& rollout() const { return rollout_; }
  const RolloutLedger& ledger() const { return ledger_; }
  /// Of everything but the mesh that answers depend on, for the ledger.
  const std::string& key() const { return key_; }
  const reward::RewardOptions& reward_options() const { return reward_; }
  const RewardTerms* rewards() const { return rewards_.get(); }  ///< null where answers are recorded

 private:
  void open_recorded(int64_t vocab_size);

  const data::Tokenizer& tokenizer_;
  const PolicyOptions& options_;
  int64_t global_batch_size_;
  uint64_t seed_;
  generate::RolloutOptions rollout_;
  reward::RewardOptions reward_;
  std::string key_;
  std::unique_ptr<const PromptSet> train_, eval_;
  std::optional<data::Sampler> sampler_;
  Generation recorded_;
  RolloutLedger ledger_;
  std::unique_ptr<const RewardTerms> rewards_;
};

}  // namespace phalanx::trainer
