#include <algorithm>
#include <array>

#include "formats/format_error.h"
#include "formats/hdf5.h"
#include "formats/hdf5_handles.h"

namespace phalanx::formats {
namespace {

using core::DType;
using hdf5::Handle;
using Kind = FormatErrorKind;

constexpr int kMaxDatasetDims = 32, kMaxGroupDepth = 16;
constexpr size_t kMaxDatasets = 1'000'000;
constexpr std::array kDTypes = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                                DType::kI32, DType::kI16, DType::kI8,  DType::kU8};

/// Walks the groups and notes each dataset.
class Lister {
 public:
  Lister(const GuardedFile& file, std::vector<TensorInfo>& out) : file_(file), out_(out) {}

  void list(hid_t group, const std::string& prefix, int depth) {
    if (depth > kMaxGroupDepth)
      fail_in(Kind::kDepth, file_.path(), "has groups deeper than {}", kMaxGroupDepth);
    for (const std::string& name : names_in(group)) {
      require_hard_link(group, name, prefix);
      const Handle object = opened(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose, prefix + name);
      switch (H5Iget_type(object.get())) {
        case H5I_GROUP:
          list(object.get(), prefix + name + "/", depth + 1);
          break;
        case H5I_DATASET:
          add(object.get(), prefix + name);
          break;
        default:
          refuse(prefix + name, "is neither a group nor a dataset");
      }
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& name, const char* what) const {
    fail_in(Kind::kUnsupported, file_.path(), "{} {}", core::printable(name), what);
  }

  Handle opened(hid_t id, Handle::Close close, const std::string& name) const {
    if (id < 0)
      fail_in(Kind::kStorage, file_.path(), "{} cannot be read: {}", core::printable(name),
              hdf5::last_error());
    return {id, close};
  }

  std::vector<std::string> names_in(hid_t group) const {
    std::vector<std::string> names;
    const auto note = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
      static_cast<std::vector<std::string>*>(out)->emplace_back(name);
      return static_cast<std::vector<std::string>*>(out)->size() > kMaxDatasets ? -1 : 0;
    };
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, note, &names) < 0)
      fail_in(Kind::kStorage, file_.path(), "cannot be listed: {}", hdf5::last_error());
    return names;
  }

  void require_hard_link(hid_t group, const std::string& name, const std::string& prefix) const {
    H5L_info_t info;
    if (H5Lget_info(group, name.c_str(), &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
      refuse(prefix + name, "is a link, which is not followed");
  }

  DType dtype_of(hid_t dataset, const std::string& name) const {
    const Handle type = opened(H5Dget_type(dataset), H5Tclose, name);
    for (const DType candidate : kDTypes)
      if (H5Tequal(type.get(), hdf5::element_type(candidate).get()) > 0) return candidate;
    refuse(name, "has an element type that is not read; F64, F32, F16, BF16, I64, I32, I16, I8 and U8 are");
  }

  std::vector<int64_t> shape_of(hid_t dataset, const std::string& name) const {
    const Handle space = opened(H5Dget_space(dataset), H5Sclose, name);
    const H5S_class_t kind = H5Sget_simple_extent_type(space.get());
    if (kind == H5S_SCALAR) return {};
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (kind != H5S_SIMPLE || rank < 1 || rank > kMaxDatasetDims) refuse(name, "has no simple shape");
    std::vector<hsize_t> dims(static_cast<size_t>(rank));
    H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
    return {dims.begin(), dims.end()};
  }

  void require_plain_storage(hid_t dataset, const std::string& name) const {
    const Handle layout = opened(H5Dget_create_plist(dataset), H5Pclose, name);
    if (H5Pget_layout(layout.get()) != H5D_CONTIGUOUS) refuse(name, "is not stored in one piece");
    if (H5Pget_external_count(layout.get()) != 0) refuse(name, "has its data in another file");
    if (H5Pget_nfilters(layout.get()) != 0) refuse(name, "is compressed");
  }

  void add(hid_t dataset, const std::string& name) {
    require_plain_storage(dataset, name);
    TensorInfo tensor{name, dtype_of(dataset, name), shape_of(dataset, name), 0, 0};
    const std::optional<uint64_t> bytes = count_bytes(tensor.dtype, tensor.shape);
    if (!bytes) refuse(name, "is too large");
    tensor.size_bytes = *bytes;
    if (*bytes > 0) {
      tensor.offset_bytes = H5Dget_offset(dataset);
      const uint64_t file_bytes = file_.bytes().size();
      if (tensor.offset_bytes == HADDR_UNDEF || *bytes > file_bytes ||
          tensor.offset_bytes > file_bytes - *bytes)
        fail_in(Kind::kData, file_.path(), "the file ends inside dataset {}", core::printable(name));
    }
    if (out_.size() == kMaxDatasets)
      fail_in(Kind::kCount, file_.path(), "has more than {} datasets", kMaxDatasets);
    out_.push_back(std::move(tensor));
  }

  const GuardedFile& file_;
  std::vector<TensorInfo>& out_;
};

Handle open_file(const std::filesystem::path& path) {
  hdf5::prepare_library();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access.get(), false, true);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  if (file < 0) fail_in(Kind::kStorage, path, "is no readable HDF5 file: {}", hdf5::last_error());
  return {file, H5Fclose};
}

}  // namespace

Hdf5File::Hdf5File(const std::filesystem::path& path) : file_(path) {
  const Handle file = open_file(path);
  Lister(file_, tensors_).list(file.get(), "", 0);
}

std::span<const std::byte> Hdf5File::bytes(const TensorInfo& tensor) const {
  return file_.bytes().subspan(tensor.offset_bytes, tensor.size_bytes);
}

}  // namespace phalanx::formats
