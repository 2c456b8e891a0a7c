#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/tensor_file.h"

namespace phalanx::formats {

/// One tensor of a file, and the parameters of a model that it holds.
struct StoredTensor {
  struct Part {
    std::string name;  ///< of the parameter
    int64_t rows;      ///< its first dimension
  };
  std::string name;         ///< in the file
  std::vector<Part> parts;  ///< below each other
  bool is_transposed =
      false;  ///< the file holds the transpose: parts [out, in] stand side by side as [in, out]
  std::string other_name = {};  ///< older files may call it that
};

/// The tensors of `file` under the names and in the shapes of the parameters. What no entry names keeps its
/// name; what does not have the shape that the parts ask for keeps name and shape, and is refused as
/// everything that no model has a place for. Parts of rows are read where they lie; transposed ones are made
/// when they are asked for, and given up by release_pages().
std::shared_ptr<const TensorFile> as_parameters(std::shared_ptr<const TensorFile> file,
                                                const std::vector<StoredTensor>& layout);

}  // namespace phalanx::formats
