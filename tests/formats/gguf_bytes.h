#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format_test_util.h"

// GGUF files put together by hand.
namespace phalanx::formats::gguf_bytes {

inline std::string text(std::string_view value) {
  return raw(uint64_t(value.size())) + std::string(value);
}

inline std::string pair(std::string_view key, uint32_t type, const std::string& value) {
  return text(key) + raw(type) + value;
}

struct Tensor {
  std::string name = "t";
  std::vector<uint64_t> dims = {4};
  uint32_t type = 0;
  uint64_t offset = 0;
  std::optional<uint32_t> num_dims = {};
};

inline std::string entry(const Tensor& tensor) {
  std::string out = text(tensor.name) + raw(tensor.num_dims.value_or(uint32_t(tensor.dims.size())));
  for (const uint64_t dim : tensor.dims) out += raw(dim);
  return out + raw(tensor.type) + raw(tensor.offset);
}

/// A GGUF file put together by hand, so that each part can be wrong.
struct Builder {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> pairs = {};
  std::vector<Tensor> tensors = {};
  std::optional<uint64_t> num_pairs = {}, num_tensors = {};
  size_t data_bytes = 4096, alignment = 32;

  std::string bytes() const {
    std::string out = magic + raw(version) + raw(num_tensors.value_or(tensors.size())) +
                      raw(num_pairs.value_or(pairs.size()));
    for (const std::string& pair : pairs) out += pair;
    for (const Tensor& tensor : tensors) out += entry(tensor);
    out.resize((out.size() + alignment - 1) / alignment * alignment + data_bytes);
    return out;
  }
};

}  // namespace phalanx::formats::gguf_bytes
