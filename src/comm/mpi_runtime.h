#pragma once
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/failure.h"

namespace phalanx::comm {

class JobControl;

/// MPI for the length of this object: one in a process, made by main() and destroyed after every
/// communicator. Errors of MPI become core::Error. After a rank has failed the destructor ends the job by
/// MPI_Abort, as MPI_Finalize would wait for ever for a rank that is not coming.
class MpiRuntime {
 public:
  MpiRuntime();  ///< MPI_Init_thread(MPI_THREAD_MULTIPLE)
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  int rank() const;
  int size() const;
  int local_rank() const { return local_rank_; }  ///< among the ranks of this host
  int local_size() const { return local_size_; }
  static std::string library_version();  ///< "Open MPI v4.1.4, ..."; may be called without an object

  /// How a rank ends on an error (describe_failure). Tells the other ranks, so that they stop waiting; calls
  /// `print` with "rank 2: ..." if this rank failed itself and no other rank says the same, so that each
  /// error is printed once (mpirun carries every rank's stderr to the terminal); gives the others 3 s to
  /// close their files; ends the job by MPI_Abort with the exit code of the lowest rank that failed, which
  /// mpirun passes on. A rank that only heard of the failure (PeerFailure) calls it too. With one rank the
  /// line has no rank.
  [[noreturn]] void end_failed_job(const Failure& own,
                                   const std::function<void(const std::string& line)>& print);

  const std::shared_ptr<JobControl>& control() const { return control_; }  ///< for make_mpi_communicator

 private:
  std::shared_ptr<JobControl> control_;
  int local_rank_ = 0;
  int local_size_ = 1;
};

struct MpiOptions {
  bool shared_memory =
      true;  ///< collectives of ranks on one host go through a shared segment instead of messages
  double timeout_s = 1800;    ///< a collective or message that waits longer fails; 0: never
  int64_t staging_bytes = 0;  ///< shared memory per rank and half; 0: a good size
};

/// All ranks of the job, over host memory. Collective.
std::unique_ptr<Communicator> make_mpi_communicator(const MpiRuntime& runtime,
                                                    const MpiOptions& options = {});

}  // namespace phalanx::comm
