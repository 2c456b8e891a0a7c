#include "formats/hdf5_handles.h"

#include <mutex>

#include "core/error.h"

namespace phalanx::formats::hdf5 {
namespace {

using core::DType;

/// Sign bit on top, then the exponent, then the mantissa, with an implied leading 1.
Handle small_float(size_t mantissa_bits, size_t exponent_bits, size_t bias) {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  // In this order; the library refuses the others.
  H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
  H5Tset_ebias(type.get(), bias);
  H5Tset_size(type.get(), 2);
  return type;
}

herr_t take_first(unsigned depth, const H5E_error2_t* error, void* out) {
  if (depth == 0) *static_cast<std::string*>(out) = error->desc == nullptr ? "" : error->desc;
  return 0;
}

}  // namespace

void prepare_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
  });
  thread_local const bool silenced = [] {  // the error stack belongs to the thread
    return H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  }();
  (void)silenced;
}

std::string last_error() {
  std::string message;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &message);
  H5Eclear2(H5E_DEFAULT);
  // "file write failed: time = ..., errno = 28, error message = 'No space left on device', buf = ..."
  constexpr std::string_view kSystemReason = "error message = '";
  const size_t begin = message.find(kSystemReason);
  if (begin != message.npos) {
    message = message.substr(begin + kSystemReason.size());
    message = message.substr(0, message.find('\''));
  }
  return message.empty() ? "HDF5 gave no reason" : core::printable(message);
}

Handle element_type(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
    case DType::kF32:
      return {H5Tcopy(H5T_IEEE_F32LE), H5Tclose};
    case DType::kF16:
      return small_float(10, 5, 15);
    case DType::kBF16:
      return small_float(7, 8, 127);
    case DType::kI64:
      return {H5Tcopy(H5T_STD_I64LE), H5Tclose};
    case DType::kI32:
      return {H5Tcopy(H5T_STD_I32LE), H5Tclose};
    case DType::kI16:
      return {H5Tcopy(H5T_STD_I16LE), H5Tclose};
    case DType::kI8:
      return {H5Tcopy(H5T_STD_I8LE), H5Tclose};
    case DType::kU8:
    case DType::kBool:
      return {H5Tcopy(H5T_STD_U8LE), H5Tclose};
    default:
      break;
  }
  core::fail(core::ExitCode::kBug, "HDF5 files hold no {}", core::name(dtype));
}

Handle dataspace(const std::vector<int64_t>& shape) {
  if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  return {H5Screate_simple(int(dims.size()), dims.data(), nullptr), H5Sclose};
}

Handle create_file(const std::filesystem::path& path) {
  prepare_library();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  H5Pset_file_locking(access.get(), false,
                      true);  // names are never used twice; NFS and Lustre often cannot lock
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(),
                         false);  // the root group's times: the same content gives the same bytes
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation.get(), access.get());
  return {checked(file, path, "", "cannot be created"), H5Fclose};
}

void write_text_attribute(hid_t object, const std::string& name, const std::string& value,
                          const std::filesystem::path& path) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type.get(), value.empty() ? 1 : value.size());
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  const hid_t id = H5Acreate2(object, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT);
  const Handle attribute(checked(id, path, name, "attribute cannot be created"), H5Aclose);
  checked(H5Awrite(attribute.get(), type.get(), value.c_str()), path, name, "attribute cannot be written");
}

void fail_storage(const std::filesystem::path& path, const std::string& dataset, const char* what) {
  const std::string place = dataset.empty() ? "" : fmt::format("dataset {}: ", core::printable(dataset));
  core::fail(core::ExitCode::kStorage, "{}: {}{}: {}", core::printable(path.string(), 400), place, what,
             last_error());
}

}  // namespace phalanx::formats::hdf5
