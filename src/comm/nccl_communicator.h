#pragma once
#include <memory>

#include "comm/communicator.h"

namespace phalanx::comm {

struct NcclOptions {
  int device_index = 0;     ///< the GPU of this rank; no two ranks of a group may share one
  double timeout_s = 1800;  ///< a collective that waits longer fails; 0: never
};

/// A group over device memory (CUDA builds only: PHALANX_CUDA). `host` is a group of the same ranks over host
/// memory, usually from make_mpi_communicator; the new group owns it. NCCL's unique id travels over it, it
/// carries the news of a failed rank, barriers and point-to-point messages. Collective.
///
/// Collectives run on a stream of their own, behind what the caller's current stream had queued when the call
/// was made. Work::wait() blocks the calling thread, not only its stream, so that an error or a time-out is
/// thrown where the collective is waited for, with its name and rank; after it any stream sees the result.
///
/// send and recv pass through host memory, because NCCL's have no tags and wait for each other in the order
/// of the calls.
///
/// NCCL drops NaN in max and min; here NaN survives, as on the host, by a second reduction of a mask.
/// @throws core::Error (kBadConfig) when the GPU does not exist, (kBug) for an error of NCCL or a time-out:
/// "rank 1 of a group of 4: all_reduce (sum) of 10 Float elements: NCCL: ..."
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     const NcclOptions& options);

}  // namespace phalanx::comm
