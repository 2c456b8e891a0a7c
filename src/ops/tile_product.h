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

/// Whether tile_product_nt() takes these: bf16, tiles on this machine, a whole number of them along k.
bool fits_tiles(const at::Tensor& a, const at::Tensor& b);
/// And so few rows that it is faster than ATen's product: b is read once, as it lies, at the speed of the
/// memory.
bool few_rows_fit_tiles(const at::Tensor& a, const at::Tensor& b);

/// out [M, N] = a [M, K] b [N, K]^T; out is fp32 or bf16, contiguous. Sums in fp32; a row has the same bits
/// whatever M is. No gradient.
void tile_product_nt(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b);
at::Tensor tile_product_nt(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_dtype);

}  // namespace phalanx::ops
