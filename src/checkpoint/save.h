#pragma once
#include <cstdint>
#include <string>

#include "checkpoint/lease.h"
#include "checkpoint/state.h"
#include "comm/communicator.h"

namespace phalanx::checkpoint {

struct SaveOptions {
  std::string checkpoints;  ///< the run's checkpoints/ folder; exists
  int64_t step = 0;
  int64_t incarnation = 0;
  const Lease* lease = nullptr;               ///< on rank 0; nullptr skips the check (tools and tests)
  bool check_replicas = true;                 ///< compare the copies of replicated slices by digest
  uint64_t spare_bytes = uint64_t{64} << 20;  ///< must stay free besides 1.05 x what is written
};

struct Saved {
  std::string path;  ///< CHECKPOINTS/step_N
  uint64_t tensor_bytes = 0;
  double seconds = 0;
};

/// Writes `state` into CHECKPOINTS/step_N.<incarnation>.partial and renames it to step_N when every byte of
/// it has been read back, compared and synced on every rank. Collective. At any instant a kill leaves either
/// no step_N or a whole one.
/// @throws PhaseFailed, the same on all ranks, after removing the partial folder: 74 storage, 76 NaN or
/// infinity in a
///         tensor or replicas that differ, 77 the lease was lost, 70 a wrong `state`.
Saved save(comm::Communicator& ranks, const State& state, const SaveOptions& options);

}  // namespace phalanx::checkpoint
