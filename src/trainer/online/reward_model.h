#pragma once
#include <memory>
#include <string>

#include "core/config.h"
#include "generate/open_model.h"
#include "parallel/distributed_model.h"
#include "reward/reward.h"
#include "trainer/frozen_model.h"
#include "trainer/online/scored_text.h"

namespace phalanx::trainer {

/// A reward model in files, opened and checked but not read: a folder of class *ForSequenceClassification
/// with one label, a PEFT adapter that brings its score, or a run of method `reward`. Immutable.
class RewardModelFiles {
 public:
  /// @param policy  whose ids answers come in: with an equal tokenizer the reward model reads these.
  /// @throws core::Error (65, 78): what the folder is, or how it does not fit the mesh of the config.
  RewardModelFiles(const std::string& path, const core::Config& config, const data::Tokenizer& policy);

  std::string report() const;  ///< one line

  /// On the ranks that train, in the compute dtype and cut as the policy is (a dense model's experts aside):
  /// tp, pp and ZeRO 3 share out its weights, else each rank has a whole copy. Data-parallel ranks share out
  /// the answers. Each is read on its own, so that its score has the same bits for any dp, pp and ZeRO stage;
  /// tp and cp round in their own way. Collective, also to score with; must not outlive this.
  std::shared_ptr<reward::Reward> start(const parallel::DistributedModel& policy,
                                        at::ScalarType compute_dtype) const;

 private:
  void check_score() const;
  void check_vocabulary() const;
  FrozenModel frozen() const;

  std::string path_;
  generate::ModelDescription described_;
  bool shares_ids_;
  ScoredText text_;
};

}  // namespace phalanx::trainer
