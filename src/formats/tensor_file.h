#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace phalanx::formats {

/// One stored tensor. Shapes are in C order (last dimension fastest), whatever the file's own order is.
struct TensorInfo {
  std::string name;
  core::DType dtype;
  std::vector<int64_t> shape;
  uint64_t offset_bytes;  ///< from the start of the file
  uint64_t size_bytes;
};

/// A read-only file (or set of files) of named tensors. The whole header is validated by the constructor of
/// the implementation, before any large allocation; it throws core::Error (kBadInput) naming the file.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// The stored bytes of one tensor, in the file's element type. Valid as long as this object lives.
  virtual std::span<const std::byte> bytes(const TensorInfo& tensor) const = 0;

  /// @throws FormatError if the file was changed while it was mapped (after a truncation what was read may be
  /// zeros). Call it after reading.
  virtual void check_unchanged() const {}

  /// Everything was read, and what bytes() returned is no longer used: mapped pages may leave this process's
  /// memory, and come back if they are asked for.
  virtual void release_pages() const {}

  const TensorInfo* find(std::string_view name) const;  ///< nullptr if absent
};

/// Decodes `num_elements` values of any float or quantised type to fp32 (exact for all of them but F64).
void to_float(core::DType dtype, const std::byte* source, int64_t num_elements, float* destination);

/// Encodes fp32 values as F32, F16, BF16 (round to nearest even) or a block type (block_encoders.h).
/// @param importance  how much an error in each column counts (finite, at least 0); the values are then whole
/// rows of so many. Empty: all the same. Types that search for no scales (F32, F16, BF16, Q8_0) do not use
/// it.
void from_float(core::DType dtype, const float* source, int64_t num_elements, std::byte* destination,
                std::span<const float> importance = {});

}  // namespace phalanx::formats
