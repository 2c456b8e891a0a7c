#pragma once
#include "comm/communicator.h"
#include "core/config.h"
#include "core/error.h"
#include "core/stop.h"

namespace phalanx::trainer {

/// Compute dtype of train.precision; auto is bf16 where the CPU multiplies it natively, else fp32.
at::ScalarType compute_dtype(const std::string& precision);

/// A whole run on this rank: data, model, adapter, checkpoints, steps, evaluation, final model. Collective
/// over `group`.
/// @param stop  asked after every step and while a method waits (Method::stop_on); true on any rank saves a
/// checkpoint and ends the run with kStopped.
/// @return kDone or kStopped. @throws core::Error.
core::ExitCode run_training(const core::Config& config, comm::Communicator& group,
                            const core::StopRequest& stop);

}  // namespace phalanx::trainer
