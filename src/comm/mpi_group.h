#pragma once
#include <mpi.h>

#include <chrono>
#include <memory>
#include <vector>

#include "comm/job_control.h"
#include "comm/mpi_runtime.h"

namespace phalanx::comm {

/// One rank's end of a group of processes: its MPI communicators, and how it waits.
struct MpiGroup {
  MpiGroup(std::shared_ptr<JobControl> control, MPI_Comm owned, const MpiOptions& options);  ///< collective
  ~MpiGroup();
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  std::shared_ptr<JobControl> control;
  MPI_Comm collectives = MPI_COMM_NULL;  // messages that collectives are made of
  MPI_Comm messages = MPI_COMM_NULL;     // send and recv of the callers
  MpiOptions options;
  int rank = 0;
  int size = 1;
  bool one_host = true;  // all ranks are on this host
};

/// Waiting for another rank without holding a core: polls at full speed for a moment, then sleeps in growing
/// steps. pause() throws PeerFailure when a rank has failed, and core::Error after the group's timeout.
class PoliteWait {
 public:
  /// @param peer  the rank of the group that is waited for; -1: one of several
  PoliteWait(const MpiGroup& group, const char* what, int peer = -1)
      : group_(group), what_(what), peer_(peer), start_(Clock::now()) {}
  void pause();
  void progress() { pauses_ = 0; }  ///< something came: polls at full speed again

 private:
  using Clock = std::chrono::steady_clock;
  const MpiGroup& group_;
  const char* what_;
  int peer_;
  Clock::time_point start_;
  int pauses_ = 0;
};

/// @throws core::Error "timed out after 1800 s in all_reduce: rank 1 of the group did not come" once `since`
/// is too long ago.
/// @param late_rank  of the group; -1 if it is not known
void check_patience(const MpiGroup& group, const char* what, std::chrono::steady_clock::time_point since,
                    int late_rank);

}  // namespace phalanx::comm
