#pragma once
#include <map>
#include <string>
#include <vector>

#include "formats/guarded_file.h"
#include "formats/tensor_file.h"

namespace phalanx::formats {

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
  std::vector<TensorInfo> tensors;              ///< in the order of their bytes
};

/// Reads the header of one safetensors file and holds it against the file's size: the tensors cover the
/// buffer exactly, without hole or overlap. Accepts what the reference accepts, except duplicate names,
/// elements that Phalanx has no type for (F8, U16, U32, U64, C64, F4, F6), more than 16 dimensions, and
/// metadata over 16 MiB.
/// @throws FormatError naming the tensor or the byte.
SafetensorsHeader parse_safetensors_header(const GuardedFile& file);

}  // namespace phalanx::formats
