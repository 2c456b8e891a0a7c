#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace phalanx::checkpoint {

/// Index of the first NaN or infinity among `num_elements` values; -1 if there is none (always for integers
/// and bool). Runs at memory speed: it looks at exponent bits only.
int64_t first_non_finite(core::DType dtype, const std::byte* data, int64_t num_elements);

}  // namespace phalanx::checkpoint
