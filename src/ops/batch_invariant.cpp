#include "ops/batch_invariant.h"

#include "core/error.h"

namespace phalanx::ops {
namespace {

thread_local bool invariant_wanted = false;

}  // namespace

BatchInvariant::BatchInvariant(bool wanted) : outer_(invariant_wanted) {
  invariant_wanted = outer_ || wanted;
}
BatchInvariant::~BatchInvariant() {
  invariant_wanted = outer_;
}
bool BatchInvariant::is_active() {
  return invariant_wanted;
}

void BatchInvariant::refuse(const char* what) {
  core::fail(
      core::ExitCode::kBadConfig,
      "rollout.batch_invariant is true but {}; it knows fp32 and bf16 in host memory on machines with AVX2 "
      "(train.precision, parallel.backend: mpi); set it to false",
      what);
}

}  // namespace phalanx::ops
