#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "formats/gguf_metadata.h"
#include "formats/guarded_file.h"
#include "formats/tensor_file.h"

namespace phalanx::formats {

/// Everything before the tensor data of one GGUF file, checked against the file's size.
struct GgufHeader {
  uint32_t version;
  uint64_t alignment_bytes;
  uint64_t data_offset_bytes;  ///< where the tensor data starts in the file
  uint64_t unused_bytes;       ///< after the last tensor
  GgufMetadata metadata;
  std::vector<TensorInfo> tensors;  ///< in file order
};

/// Reads and validates the header. What it allocates is bounded by the bytes that are there.
/// @throws FormatError with the byte offset of the first thing that is wrong.
GgufHeader parse_gguf_header(const GuardedFile& file);

/// Type numbers of tensors in a GGUF file; nothing for a type that we do not read.
std::optional<core::DType> dtype_of_gguf(uint32_t ggml_type);
uint32_t gguf_of_dtype(core::DType dtype);  ///< @throws core::Error for U8 and BOOL, which GGUF lacks

}  // namespace phalanx::formats
