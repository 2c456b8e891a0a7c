#include "formats/stored_tensor.h"

#include <cstring>
#include <map>
#include <numeric>

#include "formats/tensor_view.h"

namespace phalanx::formats {
namespace {

int64_t total_rows(const StoredTensor& stored) {
  return std::accumulate(stored.parts.begin(), stored.parts.end(), int64_t{0},
                         [](int64_t sum, const StoredTensor::Part& part) { return sum + part.rows; });
}

/// Columns [first, first + out rows) of a row-major matrix, transposed.
void transpose_columns(std::span<const std::byte> matrix, int64_t rows, int64_t columns, int64_t first,
                       std::span<std::byte> out) {
  const auto size = static_cast<int64_t>(matrix.size()) / (rows * columns);
  const int64_t count = static_cast<int64_t>(out.size()) / (rows * size);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < count; ++c)
      std::memcpy(out.data() + (c * rows + row) * size, matrix.data() + (row * columns + first + c) * size,
                  static_cast<size_t>(size));
  }
}

bool fits(const TensorInfo& info, const StoredTensor& stored) {
  if (info.shape.empty() || info.size_bytes == 0) return false;
  if (stored.is_transposed && (info.shape.size() != 2 || core::is_quantised(info.dtype))) return false;
  return stored.parts.size() == 1 || info.shape[stored.is_transposed ? 1 : 0] == total_rows(stored);
}

void add_parts(TensorView& view, const TensorInfo& info, const StoredTensor& stored) {
  const int64_t across = info.shape[stored.is_transposed ? 1 : 0];
  int64_t first = 0;
  for (const StoredTensor::Part& part : stored.parts) {
    const int64_t rows = stored.parts.size() == 1 ? across : part.rows;
    TensorInfo seen = info;
    seen.name = part.name;
    seen.size_bytes = info.size_bytes / static_cast<uint64_t>(across) * static_cast<uint64_t>(rows);
    seen.shape[0] = rows;
    if (stored.is_transposed) {
      seen.shape[1] = info.shape[0];
      view.add(seen, info, 0, info.size_bytes, [sizes = info.shape, first](auto matrix, auto out) {
        transpose_columns(matrix, sizes[0], sizes[1], first, out);
      });
    } else {
      const uint64_t offset = info.size_bytes / static_cast<uint64_t>(across) * static_cast<uint64_t>(first);
      seen.offset_bytes += offset;
      view.add(seen, info, offset, seen.size_bytes);
    }
    first += rows;
  }
}

}  // namespace

std::shared_ptr<const TensorFile> as_parameters(std::shared_ptr<const TensorFile> file,
                                                const std::vector<StoredTensor>& layout) {
  if (layout.empty()) return file;
  std::map<std::string, const StoredTensor*> by_name;
  for (const StoredTensor& stored : layout) {
    by_name.emplace(stored.name, &stored);
    if (!stored.other_name.empty()) by_name.emplace(stored.other_name, &stored);
  }
  auto view = std::make_shared<TensorView>(file);
  for (const TensorInfo& info : file->tensors()) {
    const auto found = by_name.find(info.name);
    if (found == by_name.end() || !fits(info, *found->second)) {
      view->add(info);
    } else {
      add_parts(*view, info, *found->second);
    }
  }
  return view;
}

}  // namespace phalanx::formats
