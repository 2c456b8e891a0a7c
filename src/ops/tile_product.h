#pragma once
#include <ATen/core/Tensor.h>

namespace phalanx::ops {

/// Whether bf16 products of `a` go to the machine's tiles (AMX): ATen's own product would round its result to
/// bf16, and a weight gradient must not be rounded before it is added up.
bool tiles_apply(const at::Tensor& a);

/// accumulator [M, N] += scale a[K, M]^T b [K, N]: bf16 operands, fp32 accumulator, sums in fp32 (the tile
/// kernels of oneDNN that LibTorch offers). The order of the sums depends on the shapes alone.
void tile_product_tn_add(const at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b,
                         double scale);

}  // namespace phalanx::ops
