#pragma once
#include <string>

#include "trainer/mesh_run.h"

namespace phalanx::trainer {

/// How far runs in one dtype may lie apart, from rounding alone.
struct MeshBound {
  double loss = 0, gradient = 0;  // as in MeshDifference
};

/// fp64: 1e-13 and 1e-12. Otherwise calibrated: `reference` in that dtype is compared with `exact`, the same
/// run in fp64, tensor by tensor; a mesh may be 4 times as far from `reference` as the worst of these errors,
/// and no less than a few roundings.
MeshBound rounding_bound(const MeshRun& reference, const MeshRun& exact, at::ScalarType compute);

/// What is wrong with a run, from what it looks like.
struct MeshDiagnosis {
  std::string tensor;  // the first one beyond the bound, in execution order
  int64_t step = 0;    // from 1; 0: its weights were wrong before the first step
  double difference = 0;
  std::string
      kind;  // "wrong slice", "counted 2 times", "wrong divisor", "missing reduction", "stale parameter", ...
};

/// The kinds, in the order in which they are looked for:
///     wrong slice        a weight is not the reference's before the first step
///     counted k times    most wrong gradients of step 1 are k times the reference's, k = 2, 3, ...
///     wrong divisor      they are the reference's times one other factor
///     wrong forward      the loss of step 1 is another one: blocks in the wrong order, or a sum that lacks
///     addends missing reduction  the loss is right, gradients are not: they lack addends of other ranks
///     stale parameter    step 1 is right and a later one is not
/// @return no tensor if the run is within the bound.
MeshDiagnosis diagnose(const MeshRun& run, const MeshRun& reference, const MeshBound& bound);

/// The axes of a mesh that are wrong on their own: each with its size and options, the others 1. Joined by "
/// and "; "the combination of ..." if each is right alone.
std::string guilty_axes(const MeshRecipe& recipe, const MeshCase& mesh_case, at::ScalarType compute,
                        const MeshRun& reference, const MeshBound& bound, const Sabotage& sabotage = {});

}  // namespace phalanx::trainer
