#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/flat_parameters.h"
#include "trainer/options.h"

namespace phalanx::trainer {

/// Updates the owned part of the master weights (and with them the compute weights) from the owned part of
/// the gradient. State lives in flat buffers of the owned part's layout.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// One update. `step` counts from 1 (bias correction); gradients are multiplied by `grad_scale` (clipping)
  /// on the way.
  /// @param ranges  FlatParameters::update_ranges(), or some of them
  virtual void step(const std::vector<parallel::UpdateRange>& ranges, int64_t step, double learning_rate,
                    double grad_scale) = 0;
  /// State buffers by name ("exp_avg", ...), each FlatParameters::num_owned() long: what a
  /// checkpoint saves.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() const = 0;
};

/// "adamw" (Loshchilov & Hutter 2019; torch.optim.AdamW's formula) or "sgd" (with momentum; torch.optim.SGD's
/// formula, decay coupled to the gradient). Its state lives with the masters; with options.offload_to_host on
/// the host (host_offload.h). @throws core::Error (78) naming the known ones, or where there is nothing to
/// offload.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const parallel::FlatParameters& parameters);

}  // namespace phalanx::trainer
