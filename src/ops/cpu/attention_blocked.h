#pragma once
#include <cstddef>

#include "ops/cpu/attention_kernels.h"
#include "ops/cpu/gemm_kernels.h"

/// Flash attention (Dao et al. 2022) of one sample and one key head from the packed products of
/// gemm_kernels.h and the row kernels of kernels.h, for machines that have no kernel of their own. All
/// arithmetic is fp32: `kernels` must widen bf16 as it packs (bf16_per_unit 1). Memory is linear in the
/// number of tokens.
namespace phalanx::ops::cpu::blocked {

size_t forward_scratch_bytes(int64_t tokens, int dim);
size_t backward_scratch_bytes(int64_t tokens, int dim);

/// T is float or uint16_t (the bits of bf16). `work` is 64-byte aligned scratch of at least the size above.
template <class T>
void attention_forward(const GemmKernels& kernels, const AttentionForward& task, void* work);
template <class T>
void attention_backward(const GemmKernels& kernels, const AttentionBackward& task, void* work);

}  // namespace phalanx::ops::cpu::blocked
