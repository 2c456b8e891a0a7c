#pragma once
#include <string>
#include <vector>

#include "model/causal_lm.h"
#include "parallel/flat_parameters.h"
#include "parallel/mesh.h"

namespace phalanx::parallel {

/// Why the experts cannot be spread over `shape.ep` ranks of this mesh: one sentence each with the valid
/// choices; empty if they can.
std::vector<std::string> why_no_expert_parallel(const model::TransformerConfig& config,
                                                const MeshShape& shape);

/// Expert parallelism (Lepikhin et al. 2020, arXiv:2006.16668): of each layer's E experts every rank of
/// mesh.ep() keeps E / ep, and tokens travel to the experts that their router has chosen:
///
///     counts  all_to_all   rows for each expert, E int64 numbers
///     rows    all_to_all   to the ranks of their experts, which run them on the rows of all ep ranks
///     outputs all_to_all   back to the ranks of their tokens
///
/// and in the backward the gradients of outputs and of rows the same two ways. However uneven the routers
/// are, no token is dropped and none is padded. Bytes sent per rank, layer and micro-step: 4 R h (ep - 1) /
/// ep elements if routers are balanced, R = N x experts per token rows, and the counts.
///
/// The ranks of an ep group see different tokens; the other weights are copies there, as ever. An expert's
/// copies are on ranks of other ep groups: its gradients are added over mesh.holders(true).
///
/// Call before weights are read. `traits` gets an entry for every parameter of an expert.
void apply_expert_parallel(model::CausalLm& model, const Mesh& mesh, Traits& traits);

}  // namespace phalanx::parallel
