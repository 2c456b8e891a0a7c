#include "ops/label_logprob.h"

#include "ops/cpu/kernels.h"

namespace phalanx::ops {

double label_logprob(std::span<const float> logits, int64_t label) {
  auto* row = const_cast<float*>(logits.data());  // written only where a gradient is wanted
  return -static_cast<double>(cpu::row_kernels<float>().cross_entropy_f32(
      row, static_cast<int64_t>(logits.size()), label, 0.0F, /*gradient=*/false));
}

}  // namespace phalanx::ops
