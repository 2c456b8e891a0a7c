#include "parallel/grad_sync.h"

#include "parallel/data_parallel.h"
#include "parallel/tree_grad_sync.h"
#include "parallel/zero.h"

namespace phalanx::parallel {

std::unique_ptr<GradSync> make_grad_sync(FlatParameters& parameters, const Mesh& mesh,
                                         const GradSyncOptions& options) {
  if (options.mesh_invariant) return std::make_unique<TreeGradSync>(parameters, mesh, options);
  if (parameters.options().zero_stage > 0) return std::make_unique<Zero>(parameters, mesh);
  return std::make_unique<DataParallel>(parameters, mesh);
}

}  // namespace phalanx::parallel
