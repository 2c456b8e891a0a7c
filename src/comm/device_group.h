#pragma once
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace phalanx::comm {

struct DeviceGroupOptions {
  std::string backend = "auto";  ///< auto: nccl where this build and this machine have GPUs; mpi; nccl
  int local_rank = 0;            ///< among the ranks of this host: the number of its GPU
  double timeout_s = 1800;
};

bool is_built_with_cuda();

/// The group whose collectives carry the tensors of a run: `host` itself, or one over GPUs on top of it.
/// Communicator::device() then says where weights live. Collective over `host`.
/// @throws core::Error (kBadConfig) where nccl is asked for without CUDA or without a GPU for this rank.
std::unique_ptr<Communicator> make_device_group(std::unique_ptr<Communicator> host,
                                                const DeviceGroupOptions& options);

}  // namespace phalanx::comm
