#include "checkpoint/parallel_tasks.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace phalanx::checkpoint {

void run_tasks(size_t count, int num_threads, const std::function<void(size_t)>& body) {
  std::atomic<size_t> next{0};
  std::exception_ptr first_error;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (size_t task = next++; task < count; task = next++) body(task);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
      next = count;
    }
  };
  const size_t helpers =
      std::min<size_t>(count, static_cast<size_t>(std::max(num_threads, 1))) - (count > 0 ? 1 : 0);
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < helpers; ++i) threads.emplace_back(work);
  work();
  threads.clear();  // joins
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace phalanx::checkpoint
