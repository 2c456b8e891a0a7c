#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace phalanx::formats {

/// A tensor that is going to be written. Shape in C order.
struct TensorSpec {
  std::string name;
  core::DType dtype;
  std::vector<int64_t> shape;
};

/// Product of the dimensions; nothing if a dimension is negative or the product does not fit, even where a 0
/// follows.
std::optional<uint64_t> count_elements(std::span<const int64_t> shape);

/// Bytes of a tensor; nothing on overflow or when the last dimension is not a multiple of the block.
std::optional<uint64_t> count_bytes(core::DType dtype, std::span<const int64_t> shape);

/// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

}  // namespace phalanx::formats
