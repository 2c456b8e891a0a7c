#pragma once
#include <cstdint>
#include <string>

#include "parallel/pipeline_plan.h"

namespace phalanx::parallel {

/// The plan as a picture in plain ASCII, ends with a newline. One line per rank, time to the right in cells,
/// each as long as a forward (of one chunk), with F = B = W and no time for messages:
///
///     1f1b, 2 ranks, 3 micro-batches
///             0                   5                   10
///     rank 0  F0  F1  ..  ..  B0----  F2  B1----  ..  B2----
///     rank 1  ..  F0  B0----  F1  B1----  F2  B2----  ..  ..
///
/// and below it the key, the idle share and the peak of live activations. With two chunks the second has
/// small letters; with more each step ends in its chunk's letter, F0a. Where the cells do not fit into
/// `max_columns`, first the gaps between them go, then the picture goes on below.
std::string draw_pipeline_plan(const PipelinePlan& plan, int64_t max_columns = 100);

}  // namespace phalanx::parallel
