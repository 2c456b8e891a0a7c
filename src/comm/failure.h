#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include "core/error.h"

namespace phalanx::comm {

/// The fatal error of one rank.
struct Failure {
  int rank = -1;  ///< in the world, not in a sub-group; -1: the group as a whole (a timeout of run_ranks)
  core::ExitCode code = core::ExitCode::kBug;
  std::string message;       ///< one line, without "error:" and without the rank
  bool provisional = false;  ///< posted by a destructor during unwinding: the real message is about to follow
};

/// "rank 2: data/a.jsonl: line 3 is not JSON"; without the number when rank is -1.
std::string to_line(const Failure& failure);

/// What every call on a communicator throws once another rank has failed. what() is to_line(failure).
/// A rank that ends with this error has nothing of its own to report.
class PeerFailure : public core::Error {
 public:
  explicit PeerFailure(Failure failure)
      : core::Error(failure.code, to_line(failure)), failure_(std::move(failure)) {}
  const Failure& failure() const { return failure_; }

 private:
  Failure failure_;
};

/// What to report about an exception that ends rank `rank`: a core::Error keeps its code, a PeerFailure the
/// rank it came from, anything else is our bug (c10::Error without its stack, std::bad_alloc as "out of
/// memory").
Failure describe_failure(std::exception_ptr error, int rank);

/// The first failure of a job, as one process knows it. Thread-safe. The first final failure stays; it
/// replaces a provisional one.
class FailureRecord {
 public:
  void post(Failure failure);
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  std::optional<Failure> first() const;
  void throw_if_failed()
      const;  ///< PeerFailure; waits up to a second for a provisional failure to become final

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::optional<Failure> first_;
  std::atomic<bool> failed_{false};
};

}  // namespace phalanx::comm
