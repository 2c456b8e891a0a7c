#pragma once
#include <ATen/core/Tensor.h>

#include <utility>

namespace phalanx::ops {

/// fp32 weights kept as two halves of 16 bits, so that a bf16 model with fp32 master weights costs 4 bytes a
/// weight and not 6:
///     upper  bf16   the weight rounded to bf16, ties away from zero: what the model computes with
///     lower  int16  the lower 16 bits of the fp32 pattern
/// Both together are the fp32 weight to the last bit (a NaN stays a NaN), because where `lower` has its top
/// bit set, `upper` was rounded away from zero. Contiguous, of one shape.
at::Tensor join_halves(const at::Tensor& upper, const at::Tensor& lower);  ///< fp32, newly allocated
void split_halves(const at::Tensor& weights, at::Tensor upper, at::Tensor lower);

}  // namespace phalanx::ops
