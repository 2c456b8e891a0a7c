#include "formats/gguf_tensor.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "core/error.h"
#include "formats/format_error.h"
#include "formats/tensor_spec.h"

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

class GgufParameters : public TensorFile {
 public:
  GgufParameters(std::shared_ptr<const TensorFile> file, const std::vector<GgufTensor>& layout,
                 const std::vector<std::string>& ignored, const std::string& where)
      : file_(std::move(file)) {
    std::map<std::string_view, const GgufTensor*> by_name;
    for (const GgufTensor& tensor : layout) by_name.emplace(tensor.name, &tensor);
    for (const TensorInfo& stored : file_->tensors()) {
      if (std::ranges::find(ignored, stored.name) != ignored.end()) continue;
      const auto found = by_name.find(stored.name);
      if (found == by_name.end()) {
        add(stored, {.stored = stored});
        continue;
      }
      if (stored.shape != found->second->shape())
        fail_in(FormatErrorKind::kShape, where,
                "tensor {} has the shape {}, but the keys of the file ask for {}",
                core::printable(stored.name), shape_text(stored.shape), shape_text(found->second->shape()));
      add_parts(stored, *found->second, where);
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override {
    const Place& place = places_.at(tensor.name);
    const auto part = file_->bytes(place.stored).subspan(place.offset_bytes, place.size_bytes);
    if (place.num_heads == 0 && !place.is_one_more) return part;
    const std::scoped_lock lock(mutex_);
    std::vector<std::byte>& made = made_[tensor.name];
    if (!made.empty()) return made;
    made.resize(tensor.size_bytes);
    if (place.is_one_more) {
      auto* values = reinterpret_cast<float*>(made.data());
      const auto count = int64_t(made.size() / sizeof(float));
      to_float(place.stored.dtype, part.data(), count, values);
      for (int64_t i = 0; i < count; ++i) values[i] -= 1;
    } else {
      rows_to_hf(part, place.num_heads, tensor.shape[0] / place.num_heads, made);
    }
    return made;
  }
  void check_unchanged() const override { file_->check_unchanged(); }
  void release_pages() const override {
    const std::scoped_lock lock(mutex_);
    made_.clear();
    file_->release_pages();
  }

 private:
  struct Place {
    TensorInfo stored;
    uint64_t offset_bytes = 0, size_bytes = stored.size_bytes;  // in the stored tensor
    int64_t num_heads = 0;
    bool is_one_more = false;
  };

  void add(const TensorInfo& seen, Place place) {
    tensors_.push_back(seen);
    // Of two tensors with one name the reader sees the second as one too many, and refuses it.
    places_.emplace(seen.name, std::move(place));
  }

  // A part of a matrix is whole rows, and those are whole blocks of a quantised type. Vectors have no such
  // rows: no program quantises them.
  void add_parts(const TensorInfo& stored, const GgufTensor& tensor, const std::string& where) {
    if (tensor.parts.front().shape.size() == 1 && !is_plain_float(stored.dtype))
      fail_in(FormatErrorKind::kUnsupported, where,
              "tensor {} is a vector of type {}; F32, F16, BF16 and F64 are read",
              core::printable(stored.name), core::name(stored.dtype));
    uint64_t offset = 0;
    for (const GgufTensor::Part& part : tensor.parts) {
      const uint64_t size = count_bytes(stored.dtype, part.shape).value();
      TensorInfo seen{part.name, stored.dtype, part.shape, stored.offset_bytes + offset, size};
      if (tensor.is_one_more) {
        seen.dtype = core::DType::kF32;
        seen.size_bytes = sizeof(float) * count_elements(part.shape).value();
      }
      add(seen, {stored, offset, size, tensor.num_heads, tensor.is_one_more});
      offset += size;
    }
  }

  std::shared_ptr<const TensorFile> file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Place> places_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<std::byte>> made_;
};

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
  return std::make_shared<GgufParameters>(std::move(file), layout, ignored, where);
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
