#pragma once
#include <memory>
#include <string>
#include <vector>

#include "trainer/offline_method.h"

namespace phalanx::trainer {

/// `kto` and `bco`: answers that are wanted or not, without pairs.
std::vector<MethodKind> kto_methods();

struct KtoSettings {
  std::string loss_type = "kto";  ///< or apo_zero_unpaired
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;
  ReferenceSettings reference = {};
};
/// The weighted mean of kto_loss() over the answers of the global batch. Its kl is max(0, the mean log ratio
/// of each prompt with the answer of the row before it in the global batch, the first with the last's),
/// without a gradient.
std::unique_ptr<Task> kto_task(std::shared_ptr<const OfflineData> data, const KtoSettings& settings);

/// The mean of bco_loss() over the answers of the global batch. Its delta is the mean of beta (log policy -
/// log reference) of all answers of the training so far, those of this batch included; it is part of
/// checkpoints.
std::unique_ptr<Task> bco_task(std::shared_ptr<const OfflineData> data, double beta,
                               const ReferenceSettings& reference);

}  // namespace phalanx::trainer
