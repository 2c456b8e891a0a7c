#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/guarded_file.h"
#include "formats/tensor_file.h"
#include "formats/tensor_spec.h"

// Serial HDF5 for checkpoint shards: the C API of libhdf5 appears only in hdf5*.cpp.
//
// Element types: F64 F32 F16 BF16 I64 I32 I16 I8 U8, and BOOL stored as U8. BF16 is a custom float type that
// the library converts and h5dump prints; such datasets carry the attribute dtype = "BF16".
//
// After a failed call a file is abandoned, never closed: closing it would write a file that looks whole, and
// the library's exit handler would crash (so it is switched off). What was begun is left behind for the
// caller to remove.
namespace phalanx::formats {

/// Creates one HDF5 file of contiguous datasets (format of HDF5 1.10, no fill values). One thread at a time.
/// Failures are core::Error kStorage with path, dataset and the operating system's reason.
class Hdf5Writer {
 public:
  /// The file must not exist. `reserve_bytes` of disk are taken at once where the file system can, so that a
  /// full disk shows here and not in the middle.
  explicit Hdf5Writer(std::filesystem::path path, uint64_t reserve_bytes = 0);
  ~Hdf5Writer();  ///< abandons the file unless close() succeeded
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  /// Allocates the dataset and returns where its bytes lie in the file (0 if it has none): after close() they
  /// may also be written there with plain calls. Slashes in the name make groups.
  uint64_t create(const TensorSpec& dataset);
  /// create() and all bytes, row-major in the dataset's type.
  uint64_t write(const TensorSpec& dataset, std::span<const std::byte> bytes);
  void set_attribute(const std::string& name, const std::string& value);  ///< on the root group
  /// Flushes, then closes. The file is complete, but not yet synced.
  void close();

 private:
  struct Handles;
  std::filesystem::path path_;
  std::unique_ptr<Handles> handles_;
};

/// Reads an HDF5 file of contiguous little-endian datasets by mapping it: bytes() needs no call of the
/// library. Refused, as FormatError: links, external and virtual storage, filters, chunks, other element
/// types, more than 32 dimensions, datasets that reach beyond the file.
///
/// libhdf5 itself is not safe on hostile bytes: verify a checkpoint's hashes first.
class Hdf5File : public TensorFile {
 public:
  explicit Hdf5File(const std::filesystem::path& path);
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }  ///< by name
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override;
  void check_unchanged() const override { file_.check_unchanged(); }
  void release_pages() const override { file_.release_pages(); }

 private:
  GuardedFile file_;
  std::vector<TensorInfo> tensors_;
};

/// A block of a global tensor that lies, as a whole dataset, in another file.
struct VirtualBlock {
  std::string file;  ///< relative to the index
  std::string dataset;
  std::vector<int64_t> start, count;
};

struct VirtualDataset {
  TensorSpec tensor;
  std::vector<VirtualBlock> blocks;
};

/// Writes a file in which h5dump and h5py see whole tensors. A missing block reads as 0 without an error: for
/// people, never for loading.
void write_virtual_index(const std::filesystem::path& path, std::span<const VirtualDataset> datasets);

}  // namespace phalanx::formats
