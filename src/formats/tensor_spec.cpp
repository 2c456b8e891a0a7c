#include "formats/tensor_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

#include "formats/tensor_file.h"

namespace phalanx::formats {

std::optional<uint64_t> count_elements(std::span<const int64_t> shape) {
  uint64_t product = 1;
  bool empty = false;
  for (const int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    empty = empty || dimension == 0;
    // Zeros are left out of the product, so that what stands beside them is still checked.
    if (dimension > 0 && __builtin_mul_overflow(product, uint64_t(dimension), &product)) return std::nullopt;
    if (product > uint64_t(std::numeric_limits<int64_t>::max())) return std::nullopt;
  }
  return empty ? 0 : product;
}

std::optional<uint64_t> count_bytes(core::DType dtype, std::span<const int64_t> shape) {
  const std::optional<uint64_t> elements = count_elements(shape);
  const auto block = uint64_t(core::block_elements(dtype));
  const uint64_t row = shape.empty() ? 1 : uint64_t(shape.back());
  if (!elements || row % block != 0) return std::nullopt;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(*elements / block, uint64_t(core::block_bytes(dtype)), &bytes))
    return std::nullopt;
  if (bytes > uint64_t(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return bytes;
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

const TensorInfo* TensorFile::find(std::string_view name) const {
  for (const TensorInfo& tensor : tensors())
    if (tensor.name == name) return &tensor;
  return nullptr;
}

}  // namespace phalanx::formats
