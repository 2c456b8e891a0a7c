#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/tensor_file.h"

namespace phalanx::formats {

/// One tensor of a GGUF file, and the parameters of a model that it holds.
struct GgufTensor {
  struct Part {
    std::string name;            ///< of the parameter
    std::vector<int64_t> shape;  ///< of the parameter: [out, in] or [n]
  };
  std::string name;          ///< in the file: "blk.0.attn_q.weight"
  std::vector<Part> parts;   ///< below each other
  bool is_stack = false;     ///< parts of one shape, as [parts, out, in]; otherwise their rows are added up
  int64_t num_heads = 0;     ///< above 0: rows of so many heads, in the order of rows_to_gguf()
  bool is_one_more = false;  ///< the file holds 1 + w, in F32

  std::vector<int64_t> shape() const;  ///< in the file, C order
};

/// A GGUF file's tensors under the names, in the shapes and with the values of the parameters. What no entry
/// names keeps its name, and is refused as everything that no model has a place for. Parts are read where
/// they lie; reordered rows and values that are one less are made when they are asked for, kept, and given up
/// by release_pages(). May be used from several threads.
/// @param ignored  names of tensors that are no parameters.
/// @throws FormatError kShape for a tensor that has another shape than its entry.
std::shared_ptr<const TensorFile> as_gguf_parameters(std::shared_ptr<const TensorFile> file,
                                                     const std::vector<GgufTensor>& layout,
                                                     const std::vector<std::string>& ignored,
                                                     const std::string& where);

/// GGUF's architecture "llama" pairs neighbouring rows of a head for the rotation, Hugging Face row j with
/// row j + d / 2. Row h * d + 2 j + k of GGUF is row h * d + k * d / 2 + j of Hugging Face, d = head_dim
/// (even). Rows are moved whole, so any element type will do, weights and biases alike.
/// `rows` and `out` have num_heads * head_dim rows and do not overlap.
void rows_to_hf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                std::span<std::byte> out);
void rows_to_gguf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                  std::span<std::byte> out);

}  // namespace phalanx::formats
