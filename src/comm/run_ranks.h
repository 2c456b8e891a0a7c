#pragma once
#include <functional>

#include "comm/communicator.h"

namespace phalanx::comm {

/// Runs `body` once per rank, each in a thread of its own with an in_process communicator over all of them,
/// and joins them. When a rank throws, the others are released with its error and the first error is rethrown
/// here.
/// @param timeout_s  after it the ranks that still run are aborted with "timed out" (a hang becomes an
/// error).
void run_ranks(int num_ranks, const std::function<void(Communicator&)>& body, double timeout_s = 60.0);

}  // namespace phalanx::comm
