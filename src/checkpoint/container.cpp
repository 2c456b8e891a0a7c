#include "checkpoint/container.h"

#include <fmt/format.h>

#include "checkpoint/storage.h"
#include "formats/hdf5.h"

namespace phalanx::checkpoint {

std::vector<uint64_t> create_container(const std::string& path,
                                       const std::vector<formats::TensorSpec>& datasets) {
  std::vector<uint64_t> places;
  formats::Hdf5Writer writer(path);
  for (const formats::TensorSpec& dataset : datasets) places.push_back(writer.create(dataset));
  writer.close();
  return places;
}

void write_index(const std::string& path, const std::vector<TensorEntry>& tensors) {
  std::vector<formats::VirtualDataset> datasets;
  for (const TensorEntry& tensor : tensors) {
    formats::VirtualDataset dataset{{tensor.name, tensor.dtype, tensor.shape}, {}};
    for (const Piece& piece : tensor.pieces) {
      if (piece.box.num_elements() == 0) continue;
      dataset.blocks.push_back({piece.file, dataset_name(tensor.name, tensor.shape, piece.box),
                                piece.box.offset, piece.box.shape});
    }
    datasets.push_back(std::move(dataset));
  }
  formats::write_virtual_index(path, datasets);
  File(path, File::Mode::kWriteExisting).sync();
}

std::string dataset_name(const std::string& tensor, const std::vector<int64_t>& shape, const Box& box) {
  if (box == whole(shape)) return tensor;
  return fmt::format("{}@{}", tensor, fmt::join(box.offset, "_"));
}

}  // namespace phalanx::checkpoint
