#pragma once
#include <cstddef>
#include <functional>

namespace phalanx::checkpoint {

/// Runs body(0) ... body(count - 1), several at once on up to `num_threads` threads of their own (they mostly
/// wait for the disk, so they are not the compute threads). The first exception is rethrown after all threads
/// have stopped.
void run_tasks(size_t count, int num_threads, const std::function<void(size_t)>& body);

}  // namespace phalanx::checkpoint
