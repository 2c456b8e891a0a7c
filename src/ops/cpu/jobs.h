#pragma once
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

namespace phalanx::ops::cpu {

/// Calls work(job) for every job in [0, count) on all threads; each takes the next one when it is free, so
/// that a thread that is held up (a busy neighbour, a longer job) does not keep the others waiting. Jobs must
/// not depend on each other.
template <class Work>
void run_jobs(int64_t count, const Work& work) {
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min<int64_t>(at::get_num_threads(), count);
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t job = next++; job < count; job = next++) work(job);
    }
  });
}

}  // namespace phalanx::ops::cpu
