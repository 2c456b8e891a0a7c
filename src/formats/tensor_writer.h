#pragma once
#include <cstddef>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/tensor_spec.h"

namespace phalanx::formats {

/// A file or folder of tensors in the making: names, types and shapes are known from the start, the bytes
/// follow tensor by tensor in any order. Nothing appears under the final name before finish().
///
/// Mistakes of the caller (unknown name, wrong size, a tensor twice or never) are core::Error kBug, a failing
/// disk is kStorage.
class TensorWriter {
 public:
  virtual ~TensorWriter() = default;
  virtual const std::vector<TensorSpec>& tensors() const = 0;
  /// The whole tensor, in its declared type.
  virtual void write(std::string_view name, std::span<const std::byte> bytes) = 0;
  /// The same from fp32, encoded as the declared F32, F16, BF16 or Q8_0 in pieces of a few MiB.
  virtual void write_floats(std::string_view name, std::span<const float> values) = 0;
  /// Checks that every tensor was written, syncs, and puts the result in place.
  virtual void finish() = 0;
};

/// What the writers of one file share: book-keeping and encoding. They only say where the bytes go.
class SingleFileWriter : public TensorWriter {
 public:
  void write(std::string_view name, std::span<const std::byte> bytes) override;
  void write_floats(std::string_view name, std::span<const float> values) override;

 protected:
  virtual void write_part(size_t index, uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  void check_all_written() const;

 private:
  size_t claim(std::string_view name);  // index in tensors(); marks it written

  std::unordered_map<std::string_view, size_t> index_of_;
  std::vector<bool> written_;
};

}  // namespace phalanx::formats
