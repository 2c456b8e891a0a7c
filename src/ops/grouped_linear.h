#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace phalanx::ops {

/// Each expert's product with its own rows, as one operation:
///
///     y[offsets[e] : offsets[e+1]] = x[offsets[e] : offsets[e+1]] W_e^T
///
/// The same bits as a loop of linear() over the experts, without its copies: backward of a loop fills one
/// gradient of all rows per expert.
///
/// @param x        [R, in], rows sorted by expert.
/// @param offsets  E + 1 row numbers in host memory, rising from 0 to R; an expert may have no row.
/// @param weights  E matrices [out, in] of x's dtype, without biases.
/// @return         [R, out].
/// Saves x only if a weight needs a gradient. Weight gradients go into their GradSinks; an expert without
/// rows contributes zero there and is done() like the others.
at::Tensor grouped_linear(const at::Tensor& x, const std::vector<int64_t>& offsets,
                          const std::vector<at::Tensor>& weights);

}  // namespace phalanx::ops
