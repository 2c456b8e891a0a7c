#pragma once
#include <cstddef>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/tensor_spec.h"
#include "formats/writer_rank.h"

namespace phalanx::formats {

/// A file or folder of tensors in the making: names, types and shapes are known from the start, the bytes
/// follow tensor by tensor in any order. Nothing appears under the final name before finish(). Several ranks
/// may write one together (writer_rank.h): each the tensors that are its own.
///
/// Mistakes of the caller (unknown name, wrong size, a tensor twice or never) are core::Error kBug, a failing
/// disk is kStorage.
class TensorWriter {
 public:
  virtual ~TensorWriter() = default;
  virtual const std::vector<TensorSpec>& tensors() const = 0;
  /// Whether this rank is the one to write the tensor of this name.
  virtual bool is_mine(std::string_view name) const = 0;
  /// The whole tensor, in its declared type.
  virtual void write(std::string_view name, std::span<const std::byte> bytes) = 0;
  /// The same from fp32, encoded as the declared type in pieces of a few MiB.
  /// @param importance  how much an error in each column counts (from_float); empty: all the same.
  virtual void write_floats(std::string_view name, std::span<const float> values,
                            std::span<const float> importance = {}) = 0;
  /// Checks that every tensor of this rank was written, syncs, and puts the result in place.
  virtual void finish() = 0;
};

/// What the writers of one file share: book-keeping and encoding. They only say where the bytes go.
class SingleFileWriter : public TensorWriter {
 public:
  explicit SingleFileWriter(WriterShare share) : share_(std::move(share)) {}
  bool is_mine(std::string_view name) const override { return share_.contains(name); }
  void write(std::string_view name, std::span<const std::byte> bytes) override;
  void write_floats(std::string_view name, std::span<const float> values,
                    std::span<const float> importance = {}) override;

 protected:
  virtual void write_part(size_t index, uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  void check_all_written() const;

 private:
  size_t claim(std::string_view name);  // index in tensors(); marks it written

  WriterShare share_;
  std::unordered_map<std::string_view, size_t> index_of_;
  std::vector<bool> written_;
};

}  // namespace phalanx::formats
