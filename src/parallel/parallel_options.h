#pragma once
#include <cstdint>
#include <string>

namespace phalanx::parallel {

/// Section `parallel`: how the ranks are used. Their product must be the number of ranks.
struct ParallelOptions {
  int64_t dp = 1, tp = 1, pp = 1, cp = 1, ep = 1;
  int64_t zero_stage = 0;
  std::string backend = "auto";  // auto | mpi | in_process | nccl

  int64_t num_ranks() const { return dp * tp * pp * cp; }  // ep folds into dp x cp
};

}  // namespace phalanx::parallel
