#pragma once
#include <cstdint>
#include <vector>

#include "parallel/pipeline_plan.h"

namespace phalanx::parallel {

/// The zero-bubble lists behind make_pipeline_plan, of one rank. Only the gradient of the input is on the
/// critical path through the stages, so that of the weights is put off until the rank would wait (Qi et al.
/// 2023, arXiv:2401.10241). Both hold at most p micro-batches, as 1F1B does, counting each until its weight
/// gradient is done. They are laid out for F = B = W, and stay valid whatever the steps take.

/// ZB-H1, in steps of a rank's layers: 3m + p - 1 from m = p on, else 2m + 2p - 1.
std::vector<PipelineStep> zero_bubble_h1_steps(int64_t num_ranks, int64_t num_micro_batches, int64_t rank);

/// ZB-V, in steps of half a rank's layers: 6m + p - 1 from m = 2p - 1 on, and no rank waits between its first
/// step and its last. That is the least there can be, because the last rank cannot begin before step p - 1.
/// With m <= p the longer of 4m + 3p - 1 and 2m + 4p - 1, because the first gradient comes to the last rank
/// after 3p - 1 steps and to the first rank's chunk 0 after 4p - 1. `num_micro_batches` must be at most p or
/// at least 2p - 1.
std::vector<PipelineStep> zero_bubble_v_steps(int64_t num_ranks, int64_t num_micro_batches, int64_t rank);

}  // namespace phalanx::parallel
