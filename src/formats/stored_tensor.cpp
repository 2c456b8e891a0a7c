#include "formats/stored_tensor.h"

#include <cstring>
#include <map>
#include <mutex>
#include <numeric>

namespace phalanx::formats {
namespace {

int64_t total_rows(const StoredTensor& stored) {
  return std::accumulate(stored.parts.begin(), stored.parts.end(), int64_t{0},
                         [](int64_t sum, const StoredTensor::Part& part) { return sum + part.rows; });
}

/// Columns [first, first + count) of a row-major matrix, transposed.
std::vector<std::byte> transposed_columns(std::span<const std::byte> matrix, int64_t rows, int64_t columns,
                                          int64_t first, int64_t count) {
  const auto size = static_cast<int64_t>(matrix.size()) / (rows * columns);
  std::vector<std::byte> out(static_cast<size_t>(count * rows * size));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < count; ++c)
      std::memcpy(out.data() + (c * rows + row) * size, matrix.data() + (row * columns + first + c) * size,
                  static_cast<size_t>(size));
  }
  return out;
}

class ParameterView : public TensorFile {
 public:
  ParameterView(std::shared_ptr<const TensorFile> file, const std::vector<StoredTensor>& layout)
      : file_(std::move(file)) {
    std::map<std::string, const StoredTensor*> by_name;
    for (const StoredTensor& stored : layout) {
      by_name.emplace(stored.name, &stored);
      if (!stored.other_name.empty()) by_name.emplace(stored.other_name, &stored);
    }
    for (const TensorInfo& info : file_->tensors()) {
      const auto found = by_name.find(info.name);
      if (found == by_name.end() || !fits(info, *found->second)) {
        add(info, {.stored = info});
      } else {
        add_parts(info, *found->second);
      }
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override {
    const Place& place = places_.at(tensor.name);
    const auto whole = file_->bytes(place.stored);
    if (!place.is_transposed) return whole.subspan(place.offset_bytes, tensor.size_bytes);
    const std::lock_guard lock(mutex_);
    auto& made = made_[tensor.name];
    if (made.empty())
      made = transposed_columns(whole, place.stored.shape[0], place.stored.shape[1], place.first_column,
                                tensor.shape[0]);
    return made;
  }
  void check_unchanged() const override { file_->check_unchanged(); }
  void release_pages() const override {
    const std::lock_guard lock(mutex_);
    made_.clear();
    file_->release_pages();
  }

 private:
  struct Place {
    TensorInfo stored;
    uint64_t offset_bytes = 0;
    bool is_transposed = false;
    int64_t first_column = 0;
  };

  static bool fits(const TensorInfo& info, const StoredTensor& stored) {
    if (info.shape.empty() || info.size_bytes == 0) return false;
    if (stored.is_transposed && (info.shape.size() != 2 || core::is_quantised(info.dtype))) return false;
    return stored.parts.size() == 1 || info.shape[stored.is_transposed ? 1 : 0] == total_rows(stored);
  }

  void add(const TensorInfo& seen, Place place) {
    tensors_.push_back(seen);
    // Of two tensors with one name the reader sees the second as one too many, and refuses it.
    places_.emplace(seen.name, std::move(place));
  }

  void add_parts(const TensorInfo& info, const StoredTensor& stored) {
    const int64_t across = info.shape[stored.is_transposed ? 1 : 0];
    int64_t first = 0;
    for (const StoredTensor::Part& part : stored.parts) {
      const int64_t rows = stored.parts.size() == 1 ? across : part.rows;
      TensorInfo seen = info;
      seen.name = part.name;
      seen.size_bytes = info.size_bytes / static_cast<uint64_t>(across) * static_cast<uint64_t>(rows);
      seen.shape[0] = rows;
      if (stored.is_transposed) seen.shape[1] = info.shape[0];
      const uint64_t offset = info.size_bytes / static_cast<uint64_t>(across) * static_cast<uint64_t>(first);
      if (!stored.is_transposed) seen.offset_bytes += offset;
      add(seen, {info, stored.is_transposed ? 0 : offset, stored.is_transposed, first});
      first += rows;
    }
  }

  std::shared_ptr<const TensorFile> file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Place> places_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<std::byte>> made_;
};

}  // namespace

std::shared_ptr<const TensorFile> as_parameters(std::shared_ptr<const TensorFile> file,
                                                const std::vector<StoredTensor>& stored) {
  if (stored.empty()) return file;
  return std::make_shared<ParameterView>(std::move(file), stored);
}

}  // namespace phalanx::formats
