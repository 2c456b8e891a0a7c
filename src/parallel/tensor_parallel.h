#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/causal_lm.h"
#include "parallel/flat_parameters.h"
#include "parallel/mesh.h"

namespace phalanx::parallel {

struct TensorParallelOptions {
  bool sequence_parallel = false;
  bool allow_uneven = false;  // heads or features that do not divide are spread unevenly, and not refused
};

/// Why the model's plan cannot be cut into `tp` parts: one sentence each with the valid choices; empty if it
/// can.
std::vector<std::string> why_no_tensor_parallel(const model::TransformerConfig& config, int64_t tp,
                                                bool allow_uneven);

/// Tensor parallelism (Shoeybi et al. 2019, arXiv:1909.08053) after the family's sharding plan. One layer:
///
///     norm -> f -> [q k v | attention | o] -> g -> + -> norm -> f -> [gate up | SwiGLU | down] -> g -> +
///
///     f  forward: nothing       backward: all_reduce        with sequence_parallel: all_gather  /
///     reduce_scatter g  forward: all_reduce    backward: nothing reduce_scatter / all_gather
///
/// so 4 all_reduces of N h elements per layer and micro-step (Korthikanti et al. 2022, arXiv:2205.05198 for
/// the sequence-parallel form: the residual stream and the norms between g and f hold N / tp rows on each
/// rank). Column cut: rows of W; attention goes by heads with the keys they share, and where there are fewer
/// key heads than ranks, ranks hold copies. Row cut: columns of W, the bias is added to the sum. Vocabulary:
/// vocab_parallel.h. Adapters on a cut matrix are cut with it. A mixture of experts is one cut feed-forward
/// layer: every rank has its features of each expert, and g stands behind their weighted sum:
///
///     norm -> f -> [router -> w1 w3 | SwiGLU | w2 of a token's experts, weighted] -> g -> +
///
/// Between f and g all gradients are parts of a sum over the ranks, those of the router, too.
///
/// Call before weights are read. `traits` gets an entry for every parameter that needs one. `groups` keeps
/// what must live as long as the model.
void apply_tensor_parallel(model::CausalLm& model, const Mesh& mesh, const TensorParallelOptions& options,
                           Traits& traits, std::vector<std::unique_ptr<comm::Communicator>>& groups);

}  // namespace phalanx::parallel
