#pragma once
#include <functional>

#include "comm/communicator.h"
#include "core/config.h"
#include "core/error.h"

namespace phalanx::trainer {

/// Compute dtype of train.precision; auto is bf16 where the CPU multiplies it natively, else fp32.
at::ScalarType compute_dtype(const std::string& precision);

/// A whole run on this rank: data, model, adapter, checkpoints, steps, evaluation, final model. Collective
/// over `group`.
/// @param stop_requested  asked after every step; true on any rank saves a checkpoint and ends the run with
/// kStopped.
/// @return kDone or kStopped. @throws core::Error.
core::ExitCode run_training(const core::Config& config, comm::Communicator& group,
                            const std::function<bool()>& stop_requested);

}  // namespace phalanx::trainer
