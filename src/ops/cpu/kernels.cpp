#include "ops/cpu/kernels.h"

#include "ops/cpu/isa.h"

namespace phalanx::ops::cpu {

const Kernels& kernels() {
  if (isa().avx512) return kAvx512Kernels;
  return isa().avx2 ? kAvx2Kernels : kGenericKernels;
}

}  // namespace phalanx::ops::cpu
