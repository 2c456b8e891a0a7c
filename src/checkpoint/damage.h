#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace phalanx::checkpoint {

struct BadBlock {
  size_t file;  ///< index in Manifest::files
  size_t block;
  std::string read_error;  ///< empty if it could be read but is not what was written
};

/// One line for each damaged place: the file, its bytes, and the tensor whose values are changed by it.
std::vector<std::string> describe_damage(const std::string& folder, const Manifest& manifest,
                                         const std::vector<BadBlock>& blocks);

}  // namespace phalanx::checkpoint
