#include "comm/device_group.h"

#include "core/error.h"

#ifdef PHALANX_CUDA
#include <c10/cuda/CUDAFunctions.h>

#include "comm/nccl_communicator.h"
#endif

namespace phalanx::comm {

#ifdef PHALANX_CUDA

bool is_built_with_cuda() {
  return true;
}

std::unique_ptr<Communicator> make_device_group(std::unique_ptr<Communicator> host,
                                                const DeviceGroupOptions& options) {
  // Every rank must decide alike: on GPUs only where all have one.
  const bool has_gpu = c10::cuda::device_count() > options.local_rank;
  const bool all_have = host->all_reduce_scalar(static_cast<int64_t>(has_gpu)) == host->size();
  if (options.backend == "mpi" || (options.backend == "auto" && !all_have)) return host;
  return make_nccl_communicator(std::move(host), {options.local_rank, options.timeout_s});
}

#else

bool is_built_with_cuda() {
  return false;
}

std::unique_ptr<Communicator> make_device_group(std::unique_ptr<Communicator> host,
                                                const DeviceGroupOptions& options) {
  if (options.backend == "nccl") {
    core::fail(core::ExitCode::kBadConfig,
               "parallel.backend is nccl but this program was built without CUDA; build the preset cuda "
               "(docs/gpu.md), or use mpi");
  }
  return host;
}

#endif

}  // namespace phalanx::comm
