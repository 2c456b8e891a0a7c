#pragma once
#include <cstdint>
#include <string>

#include "parallel/distributed_model.h"
#include "parallel/mesh.h"

namespace phalanx::parallel {

/// Section `parallel`: how the ranks are used. The product of dp, tp, pp and cp must be the number of ranks.
struct ParallelOptions {
  int64_t dp = 1, dp_replicate = 1, tp = 1, pp = 1, cp = 1, ep = 1;
  int64_t zero_stage = 0;
  bool sequence_parallel = false;
  bool allow_uneven = false;
  std::string pipeline_schedule = "1f1b";
  int64_t virtual_stages = 1;
  std::string context_parallel = "ring";  // ring | ulysses
  int64_t bucket_mb = 32;
  double timeout_s = 1800;
  std::string backend = "auto";  // auto | mpi | nccl

  int64_t num_ranks() const { return dp * tp * pp * cp; }  // ep folds into dp x cp
  MeshShape mesh_shape() const { return {pp, dp_replicate, dp / dp_replicate, cp, tp, ep}; }
};

/// What these keys and those of other sections mean for a model.
DistributedOptions distributed_options(const ParallelOptions& options, bool mesh_invariant,
                                       Recompute recompute);

}  // namespace phalanx::parallel
