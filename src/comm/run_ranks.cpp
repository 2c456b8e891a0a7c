#include "comm/run_ranks.h"

#include <ATen/Parallel.h>
#include <omp.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/failure.h"
#include "comm/in_process_group.h"

namespace phalanx::comm {
namespace {

using Seconds = std::chrono::duration<double>;
constexpr Seconds kGrace{10};  // for ranks to end after they have been aborted

/// Which ranks have ended, and what the first to fail has thrown.
class Ledger {
 public:
  explicit Ledger(int num_ranks) : ended_(num_ranks) {}

  void end(int rank) {
    const std::lock_guard lock(mutex_);
    ended_[rank] = true;
    changed_.notify_all();
  }

  /// A PeerFailure only tells of another rank's error: it counts only if no rank has an error of its own.
  void fail(std::exception_ptr error, bool own) {
    const std::lock_guard lock(mutex_);
    if (!first_error_ || (own && !first_is_own_)) {
      first_error_ = std::move(error);
      first_is_own_ = own;
    }
  }

  bool wait(Seconds timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [this] { return running_locked().empty(); });
  }

  std::string running() {
    const std::lock_guard lock(mutex_);
    return running_locked();
  }

  void rethrow() const {
    if (first_error_) std::rethrow_exception(first_error_);
  }

 private:
  std::string running_locked() const {
    std::string ranks;
    for (size_t r = 0; r < ended_.size(); ++r) {
      if (!ended_[r]) ranks += (ranks.empty() ? "" : ", ") + std::to_string(r);
    }
    return ranks;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> ended_;
  std::exception_ptr first_error_;
  bool first_is_own_ = false;
};

void run_one(Communicator& communicator, const std::function<void(Communicator&)>& body, Ledger& ledger) {
  at::get_num_threads();  // ATen sets up its thread count here, once per thread
  omp_set_num_threads(
      1);  // each rank is one thread: the same bits and no crowd, however many ranks there are
  try {
    body(communicator);
  } catch (...) {
    const std::exception_ptr error = std::current_exception();
    const Failure failure = describe_failure(error, communicator.rank());
    const bool own = failure.rank == communicator.rank();
    ledger.fail(error, own);
    if (own) communicator.abort(failure.message, failure.code);
  }
}

void end_after_timeout(InProcessRanks& ranks, Ledger& ledger, double timeout_s) {
  const Failure failure{.message = fmt::format("timed out after {} s; still running: rank {}; {}", timeout_s,
                                               ledger.running(), ranks.waiting())};
  ledger.fail(std::make_exception_ptr(core::Error(failure.code, failure.message)), true);
  ranks.fail(failure);
  if (ledger.wait(kGrace)) return;
  std::fprintf(stderr, "run_ranks: rank %s does not return from its own code\n", ledger.running().c_str());
  std::abort();  // a thread cannot be ended from outside
}

}  // namespace

void run_ranks(int num_ranks, const std::function<void(Communicator&)>& body, double timeout_s) {
  InProcessRanks ranks = make_in_process_ranks(num_ranks);
  Ledger ledger(num_ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      run_one(*ranks.communicators[rank], body, ledger);
      ranks.communicators[rank].reset();  // who still waits for this rank hears that it has left
      ledger.end(rank);
    });
  }
  if (!ledger.wait(Seconds(timeout_s))) end_after_timeout(ranks, ledger, timeout_s);
  for (std::thread& thread : threads) thread.join();
  ledger.rethrow();
}

}  // namespace phalanx::comm
