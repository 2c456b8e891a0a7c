#pragma once
#include <cstddef>
#include <functional>

namespace phalanx::reward {

/// Calls work(i) for i in [0, count), up to `num_parallel` at a time, each in a thread that waits for
/// something outside of this process. Returns when all are done. @throws the first exception of a call, when
/// the others have ended.
void run_in_parallel(size_t count, size_t num_parallel, const std::function<void(size_t)>& work);

}  // namespace phalanx::reward
