#pragma once
#include <cstdint>
#include <string_view>

namespace phalanx::core {

/// Element types of stored tensors. The values of quantised types live in blocks (see block_elements).
enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K
};

std::string_view name(DType dtype);   ///< "F32", "BF16", "Q4_1", ...
int64_t block_elements(DType dtype);  ///< elements per block; 1 for plain types
int64_t block_bytes(DType dtype);     ///< bytes per block
inline bool is_quantised(DType dtype) {
  return block_elements(dtype) > 1;
}

}  // namespace phalanx::core
