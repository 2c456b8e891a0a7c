#pragma once
#include <span>
#include <string>
#include <vector>

#include "checkpoint/state.h"
#include "parallel/flat_parameters.h"
#include "trainer/optimizer.h"

namespace phalanx::trainer {

/// The names that modules and models begin with which a method trains beside the model (method.h): they are
/// no part of the model that a checkpoint is.
inline constexpr std::string_view kCriticPrefix = "critic.";

/// The parts of master weights and optimizer state that this rank owns, as a checkpoint names them:
/// "param.NAME" ("critic.NAME"), "optimizer.exp_avg.NAME". Weights first, in the order of owned_pieces(); a
/// piece is one to three boxes of its tensor. Optimizer state is listed in place; split masters are copies,
/// which take_masters() takes over.
/// @param prefix  of the names.
/// @param with_copies  also what another rank answers for: needed for loading, not saved twice.
std::vector<checkpoint::TensorSlice> owned_state(const parallel::FlatParameters& parameters,
                                                 const Optimizer& optimizer, const std::string& prefix,
                                                 bool with_copies);

/// Takes over master weights that a load has written into owned_state(..., true). @return how many slices
/// they were; so many follow for each tensor of the optimizer's state.
size_t take_masters(parallel::FlatParameters& parameters, std::span<const checkpoint::TensorSlice> slices);

}  // namespace phalanx::trainer
