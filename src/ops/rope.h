#pragma once
#include <ATen/core/Tensor.h>

#include <utility>

namespace phalanx::ops {

/// Rotary embedding (Su et al. 2021), half-split pairing (j, j + d/2) as Hugging Face has it.
/// x [N, H, d]; cos, sin [N, d/2] fp32 (fp64 for fp64), one row per token. Saves cos and sin only.
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
/// cos and sin rows for the given positions [N] int64 and inverse frequencies [d/2] fp64: angles in fp32 as
/// transformers does. `dtype` fp64 gives fp64 rows (of fp32 values), everything else fp32. cos and sin are
/// multiplied by `factor`, in fp32.
std::pair<at::Tensor, at::Tensor> rope_rows(const at::Tensor& position_ids,
                                            const at::Tensor& inverse_frequencies, at::ScalarType dtype,
                                            double factor = 1);

}  // namespace phalanx::ops
