#pragma once
#include <memory>
#include <vector>

#include "trainer/offline_method.h"
#include "trainer/preference_losses.h"

namespace phalanx::trainer {

/// `cpo` and `orpo`: pairs without a reference.
std::vector<MethodKind> cpo_methods();

struct CpoSettings {
  CpoLossOptions loss = {};
  double cpo_alpha = 1;
};
/// The mean of cpo_loss() over the pairs of the global batch, and cpo_alpha times the mean of -log p over the
/// tokens of the chosen answers.
std::unique_ptr<Task> cpo_task(std::shared_ptr<const OfflineData> data, const CpoSettings& settings);

/// The mean of -log p over all predicted tokens of prompts and chosen answers, and the mean over the pairs of
/// -beta log sigmoid(log_odds_ratio()).
std::unique_ptr<Task> orpo_task(std::shared_ptr<const OfflineData> data, double beta);

}  // namespace phalanx::trainer
