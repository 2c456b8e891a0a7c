#pragma once
#include <memory>

#include "lora/adapter.h"

namespace phalanx::lora {

/// What adapted matrices compute; the norm of DoRA has no gradient, as in the paper (4.3) and in PEFT:
///
///     LoRA  y = x W^T + scale (x A^T) B^T + bias
///     DoRA  y = m / |W + scale B A| * (x W^T + scale (x A^T) B^T) + bias    (Liu et al. 2024,
///     arXiv:2402.09353)
///
/// with one magnitude m and one norm (over the inputs) for each output.
/// @param enabled  false at the time of a call: the base's product.
/// @param trainable  false: the factors never change, so that the norm is computed once.
model::Linear::Product adapted_product(const AdaptedLinear& adapted, std::shared_ptr<const bool> enabled,
                                       bool trainable);

/// |W + scale B A| of each row, [out], fp32 (fp64 for fp64): of whole rows where ranks hold parts of them.
at::Tensor row_norms(const model::Linear& linear, const at::Tensor& a, const at::Tensor& b, double scale);

/// The matrix that answers like base and adapter together: W + scale B A, with DoRA each row at length m.
/// fp32 (fp64 for fp64).
at::Tensor merged_weight(const AdaptedLinear& adapted);
/// The same in place: `weight`, the values of the Linear's own (fp32 or fp64), becomes it.
void merge_into(at::Tensor weight, const AdaptedLinear& adapted);

}  // namespace phalanx::lora
