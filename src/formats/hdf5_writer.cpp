#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "formats/hdf5.h"
#include "formats/hdf5_handles.h"

namespace phalanx::formats {
namespace {

using hdf5::checked;
using hdf5::Handle;

/// Contiguous, allocated at once (so that its place is known), never filled (it is written whole).
Handle contiguous_layout() {
  Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(properties.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(properties.get(), false);  // the same content gives the same bytes
  return properties;
}

Handle with_groups() {
  Handle properties(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(properties.get(), 1);
  H5Pset_char_encoding(properties.get(), H5T_CSET_UTF8);
  return properties;
}

void note_dtype(hid_t dataset, core::DType dtype, const std::filesystem::path& path) {
  if (dtype == core::DType::kBF16 || dtype == core::DType::kBool)
    hdf5::write_text_attribute(dataset, "dtype", std::string(core::name(dtype)), path);
}

Handle create_dataset(hid_t file, const TensorSpec& tensor, const Handle& layout,
                      const std::filesystem::path& path) {
  const Handle type = hdf5::element_type(tensor.dtype), space = hdf5::dataspace(tensor.shape),
               links = with_groups();
  checked(space.get(), path, tensor.name, "its shape is impossible");
  const hid_t id =
      H5Dcreate2(file, tensor.name.c_str(), type.get(), space.get(), links.get(), layout.get(), H5P_DEFAULT);
  Handle dataset(checked(id, path, tensor.name, "cannot be created"), H5Dclose);
  note_dtype(dataset.get(), tensor.dtype, path);
  return dataset;
}

uint64_t place_of(const Handle& dataset, const TensorSpec& tensor, const std::filesystem::path& path) {
  if (count_elements(tensor.shape) == 0) return 0;
  const haddr_t place = H5Dget_offset(dataset.get());
  if (place == HADDR_UNDEF) hdf5::fail_storage(path, tensor.name, "has no place in the file");
  return place;
}

/// After H5Fcreate, because the truncation in it would give an earlier reservation back.
void reserve_space(hid_t file, uint64_t num_bytes, const std::filesystem::path& path) {
  void* descriptor = nullptr;
  checked(H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor), path, "", "has no descriptor");
  if (::fallocate(*static_cast<int*>(descriptor), FALLOC_FL_KEEP_SIZE, 0, off_t(num_bytes)) == 0) return;
  if (errno != EOPNOTSUPP)
    core::fail(core::ExitCode::kStorage, "{}: no space for {} bytes: {}", core::printable(path.string(), 400),
               num_bytes, std::strerror(errno));
}

void close_file(Handle& file, const std::filesystem::path& path) {
  const hid_t id = file.release();  // whatever happens from here on, nobody closes it a second time
  checked(H5Fflush(id, H5F_SCOPE_LOCAL), path, "", "cannot be flushed");
  checked(H5Fclose(id), path, "", "cannot be closed");
}

}  // namespace

struct Hdf5Writer::Handles {
  Handle file;
  Handle layout = contiguous_layout();

  /// Runs one step; when it fails the file is abandoned, so that a later close() cannot make it look whole.
  template <typename Step>
  auto run(const Step& step) {
    try {
      return step();
    } catch (...) {
      file.release();
      throw;
    }
  }
};

Hdf5Writer::Hdf5Writer(std::filesystem::path path, uint64_t reserve_bytes) : path_(std::move(path)) {
  handles_ = std::make_unique<Handles>(Handles{hdf5::create_file(path_)});
  if (reserve_bytes > 0) handles_->run([&] { reserve_space(handles_->file.get(), reserve_bytes, path_); });
}

Hdf5Writer::~Hdf5Writer() {
  if (handles_) handles_->file.release();
}

uint64_t Hdf5Writer::create(const TensorSpec& dataset) {
  return handles_->run([&] {
    return place_of(create_dataset(handles_->file.get(), dataset, handles_->layout, path_), dataset, path_);
  });
}

uint64_t Hdf5Writer::write(const TensorSpec& dataset, std::span<const std::byte> bytes) {
  if (bytes.size() != count_bytes(dataset.dtype, dataset.shape))
    core::fail(core::ExitCode::kBug, "dataset {} of shape {} {} is written with {} bytes",
               core::printable(dataset.name), core::name(dataset.dtype), shape_text(dataset.shape),
               bytes.size());
  return handles_->run([&] {
    const Handle created = create_dataset(handles_->file.get(), dataset, handles_->layout, path_);
    const Handle type = hdf5::element_type(dataset.dtype);
    if (!bytes.empty())
      checked(H5Dwrite(created.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), path_,
              dataset.name, "cannot be written");
    return place_of(created, dataset, path_);
  });
}

void Hdf5Writer::set_attribute(const std::string& name, const std::string& value) {
  handles_->run([&] { hdf5::write_text_attribute(handles_->file.get(), name, value, path_); });
}

void Hdf5Writer::close() {
  close_file(handles_->file, path_);
  handles_.reset();
}

void write_virtual_index(const std::filesystem::path& path, std::span<const VirtualDataset> datasets) {
  Handle file = hdf5::create_file(path);
  for (const auto& [tensor, blocks] : datasets) {
    const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), space = hdf5::dataspace(tensor.shape);
    H5Pset_obj_track_times(layout.get(), false);
    for (const VirtualBlock& block : blocks) {
      const std::vector<hsize_t> start(block.start.begin(), block.start.end());
      const std::vector<hsize_t> count(block.count.begin(), block.count.end());
      if (!start.empty())
        checked(
            H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
            path, tensor.name, "has a block outside its shape");
      const Handle source = hdf5::dataspace(block.count);
      checked(
          H5Pset_virtual(layout.get(), space.get(), block.file.c_str(), block.dataset.c_str(), source.get()),
          path, tensor.name, "cannot be mapped");
    }
    if (!tensor.shape.empty()) H5Sselect_all(space.get());
    create_dataset(file.get(), tensor, layout, path);
  }
  close_file(file, path);
}

}  // namespace phalanx::formats
