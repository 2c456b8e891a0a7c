#include "checkpoint/container.h"

#include <fmt/format.h>

#include "checkpoint/storage.h"

namespace phalanx::checkpoint {

std::vector<uint64_t> create_container(const std::string& path, const std::vector<DatasetSpec>& datasets) {
  std::vector<uint64_t> places;
  uint64_t end = 4096;
  for (const DatasetSpec& dataset : datasets) {
    uint64_t size = static_cast<uint64_t>(core::block_bytes(dataset.dtype));
    for (const int64_t n : dataset.shape) size *= static_cast<uint64_t>(n);
    places.push_back(end);
    end += (size + 63) / 64 * 64;
  }
  File file(path, File::Mode::kCreateNew);
  const std::byte zero{0};
  file.write_at(end - 1, &zero, 1);
  return places;
}

void write_index(const std::string& path, const std::vector<TensorEntry>& tensors) {
  write_new_file(path, fmt::format("{}", tensors.size()));
}

std::string dataset_name(const std::string& tensor, const std::vector<int64_t>& shape, const Box& box) {
  if (box == whole(shape)) return tensor;
  return fmt::format("{}@{}", tensor, fmt::join(box.offset, "_"));
}

}  // namespace phalanx::checkpoint
