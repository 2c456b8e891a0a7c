#pragma once
#include <mpi.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/failure.h"

namespace phalanx::comm {

/// How the processes of an MPI job tell each other that one has failed: small messages on a communicator of
/// their own, seen by whoever waits for another rank (poll()). Thread-safe; no call blocks except end_job().
class JobControl {
 public:
  explicit JobControl(MPI_Comm world);  ///< collective
  ~JobControl();

  int rank() const { return rank_; }
  int size() const { return size_; }
  const FailureRecord& record() const { return record_; }

  void fail(const Failure& failure);  ///< records it and tells all other ranks
  void poll();                        ///< hears what the others said
  void check() {                      ///< poll(), then throws PeerFailure if a rank has failed
    poll();
    record_.throw_if_failed();
  }

  /// Ends the job: see MpiRuntime::end_failed_job.
  [[noreturn]] void end_job(const Failure& own, const std::function<void(const std::string& line)>& print);

  /// Memory that MPI may still read or write after a failure; kept until the process ends.
  void keep(std::shared_ptr<const void> memory);

 private:
  enum class Word : int32_t { kFailed, kLeft };
  struct Said {
    Failure failure;
    bool echo = false;  ///< its rank had heard the same from another one: it leaves the printing to that one
  };
  void tell_all(Word word, const Failure& failure, bool echo);
  void hear(const std::vector<char>& message);
  /// Whether another rank of [first_rank, end_rank) failed with this message. Under the mutex.
  bool said_by(const std::string& message, int first_rank, int end_rank, bool or_echoed) const;
  void wait_for_the_others(double seconds);

  MPI_Comm control_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  FailureRecord record_;

  std::mutex mutex_;
  std::map<int, Said> failures_;         // final ones, by rank
  std::vector<std::vector<char>> sent_;  // messages on their way
  std::vector<MPI_Request> sending_;
  std::vector<std::shared_ptr<const void>> kept_;
  int num_left_ = 0;
};

}  // namespace phalanx::comm
