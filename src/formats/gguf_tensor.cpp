#include "formats/gguf_tensor.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/error.h"
#include "formats/format_error.h"
#include "formats/tensor_spec.h"
#include "formats/tensor_view.h"

namespace phalanx::formats {
namespace {

/// Calls move(gguf_row, hf_row) for all rows.
template <typename Move>
void pair_rows(int64_t num_heads, int64_t head_dim, const Move& move) {
  for (int64_t head = 0; head < num_heads; ++head)
    for (int64_t j = 0; j < head_dim / 2; ++j)
      for (int64_t k = 0; k < 2; ++k)
        move(size_t(head * head_dim + 2 * j + k), size_t(head * head_dim + k * (head_dim / 2) + j));
}

size_t row_bytes_of(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim, size_t out_bytes) {
  const auto num_rows = size_t(num_heads * head_dim);
  if (num_heads < 1 || head_dim < 2 || head_dim % 2 != 0 || rows.size() % num_rows != 0 ||
      rows.size() != out_bytes)
    core::fail(core::ExitCode::kBug, "{} bytes are not the rows of {} heads of an even size {}", rows.size(),
               num_heads, head_dim);
  return rows.size() / num_rows;
}

bool is_plain_float(core::DType dtype) {
  using enum core::DType;
  return dtype == kF64 || dtype == kF32 || dtype == kF16 || dtype == kBF16;
}

TensorView::Maker maker_of(const GgufTensor& tensor, const GgufTensor::Part& part, core::DType stored) {
  if (tensor.is_one_more) {
    return [stored](auto bytes, std::span<std::byte> out) {
      const std::span values(reinterpret_cast<float*>(out.data()), out.size() / sizeof(float));
      to_float(stored, bytes.data(), std::ssize(values), values.data());
      for (float& value : values) value -= 1;
    };
  }
  if (tensor.num_heads == 0) return {};
  return [heads = tensor.num_heads, head_dim = part.shape[0] / tensor.num_heads](auto rows, auto out) {
    rows_to_hf(rows, heads, head_dim, out);
  };
}

// A part of a matrix is whole rows, and those are whole blocks of a quantised type. Vectors have no such
// rows: no program quantises them.
void add_parts(TensorView& view, const TensorInfo& stored, const GgufTensor& tensor,
               const std::string& where) {
  if (tensor.parts.front().shape.size() == 1 && !is_plain_float(stored.dtype))
    fail_in(FormatErrorKind::kUnsupported, where,
            "tensor {} is a vector of type {}; F32, F16, BF16 and F64 are read", core::printable(stored.name),
            core::name(stored.dtype));
  uint64_t offset = 0;
  for (const GgufTensor::Part& part : tensor.parts) {
    const uint64_t size = count_bytes(stored.dtype, part.shape).value();
    TensorInfo seen{part.name, stored.dtype, part.shape, stored.offset_bytes + offset, size};
    if (tensor.is_one_more) {
      seen.dtype = core::DType::kF32;
      seen.size_bytes = sizeof(float) * count_elements(part.shape).value();
    }
    view.add(seen, stored, offset, size, maker_of(tensor, part, stored.dtype));
    offset += size;
  }
}

}  // namespace

std::vector<int64_t> GgufTensor::shape() const {
  std::vector<int64_t> sizes = parts.front().shape;
  if (is_stack) {
    sizes.insert(sizes.begin(), std::ssize(parts));
    return sizes;
  }
  for (size_t i = 1; i < parts.size(); ++i) sizes[0] += parts[i].shape[0];
  return sizes;
}

std::shared_ptr<const TensorFile> as_gguf_parameters(std::shared_ptr<const TensorFile> file,
                                                     const std::vector<GgufTensor>& layout,
                                                     const std::vector<std::string>& ignored,
                                                     const std::string& where) {
  std::map<std::string_view, const GgufTensor*> by_name;
  for (const GgufTensor& tensor : layout) by_name.emplace(tensor.name, &tensor);
  auto view = std::make_shared<TensorView>(file);
  for (const TensorInfo& stored : file->tensors()) {
    if (std::ranges::find(ignored, stored.name) != ignored.end()) continue;
    const auto found = by_name.find(stored.name);
    if (found == by_name.end()) {
      view->add(stored);
      continue;
    }
    if (stored.shape != found->second->shape())
      fail_in(FormatErrorKind::kShape, where,
              "tensor {} has the shape {}, but the keys of the file ask for {}", core::printable(stored.name),
              shape_text(stored.shape), shape_text(found->second->shape()));
    add_parts(*view, stored, *found->second, where);
  }
  return view;
}

void rows_to_hf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                std::span<std::byte> out) {
  const size_t bytes = row_bytes_of(rows, num_heads, head_dim, out.size());
  pair_rows(num_heads, head_dim, [&](size_t gguf, size_t hf) {
    std::memcpy(out.data() + hf * bytes, rows.data() + gguf * bytes, bytes);
  });
}

void rows_to_gguf(std::span<const std::byte> rows, int64_t num_heads, int64_t head_dim,
                  std::span<std::byte> out) {
  const size_t bytes = row_bytes_of(rows, num_heads, head_dim, out.size());
  pair_rows(num_heads, head_dim, [&](size_t gguf, size_t hf) {
    std::memcpy(out.data() + gguf * bytes, rows.data() + hf * bytes, bytes);
  });
}

}  // namespace phalanx::formats
