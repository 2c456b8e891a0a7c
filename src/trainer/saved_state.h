#pragma once
#include "checkpoint/state.h"
#include "parallel/flat_parameters.h"
#include "trainer/optimizer.h"

namespace phalanx::trainer {

/// The parts of master weights and optimizer state that this rank owns, as a checkpoint names them:
/// "param.NAME", "optimizer.exp_avg.NAME". Weights first, in the order of owned_pieces(); a piece is one to
/// three boxes of its tensor. Optimizer state is listed in place; split masters are copies, which
/// take_masters() takes over.
/// @param with_copies  also what another rank answers for: needed for loading, not saved twice.
std::vector<checkpoint::TensorSlice> owned_state(const parallel::FlatParameters& parameters,
                                                 const Optimizer& optimizer, bool with_copies);

/// Takes over master weights that a load has written into owned_state(..., true).
void take_masters(parallel::FlatParameters& parameters, const std::vector<checkpoint::TensorSlice>& slices);

}  // namespace phalanx::trainer
