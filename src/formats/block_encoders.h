#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace phalanx::formats {

/// Encodes rows of whole blocks of a quantised type. The bits are the same on every machine.
/// @param columns     length of a row; used with importance only.
/// @param importance  [columns], how much an error in each column counts, at least 0; or null.
///
/// Without importance Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 give the bytes of llama.cpp's reference encoders. With
/// it, and for Q4_K, Q5_K and Q6_K always, scales (and minima) are searched for that minimise
///     sum_i w_i (decoded_i - x_i)^2,
/// w_i = importance_i sqrt(s + x_i^2) with s the mean of x^2 over the row (super-block for Q4_K and Q5_K,
/// with a factor 2); without importance sqrt(mean of x^2 in the group) + |x_i|; for Q6_K importance_i or
/// x_i^2: llama.cpp's weights.
void encode_blocks(core::DType dtype, const float* source, int64_t count, uint8_t* out, int64_t columns,
                   const float* importance) noexcept;

}  // namespace phalanx::formats
