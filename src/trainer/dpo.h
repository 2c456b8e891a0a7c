#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/offline_method.h"
#include "trainer/preference_losses.h"

namespace phalanx::trainer {

/// `dpo`.
std::vector<MethodKind> dpo_methods();

struct DpoSettings {
  /// pair_loss_names(), and "sft": the mean of -log p over the tokens of the chosen answers.
  std::vector<std::string> loss_types = {"sigmoid"};
  std::vector<double> loss_weights = {1};
  PairLossOptions loss = {};
  /// Weight of the tokens by which an answer is longer than the other (Liu et al. 2024, arXiv:2409.06411).
  std::optional<double> ld_alpha = {};
  /// Pairs weigh exp of the mean over the tokens of both answers of log p - log sum p^2, the sum over the
  /// vocabulary (WPO, Zhou et al. 2024, arXiv:2406.11827).
  bool use_weighting = false;
  ReferenceSettings reference = {};
};

/// The mean over the pairs of the global batch of the weighted sum of the losses.
std::unique_ptr<Task> dpo_task(std::shared_ptr<const OfflineData> data, const DpoSettings& settings);

}  // namespace phalanx::trainer
