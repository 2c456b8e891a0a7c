#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "formats/tensor_file.h"

namespace phalanx::formats {

/// Tensors of a file under other names: read where they lie, or made of stored bytes when they are asked for,
/// kept, and given up by release_pages(). May be used from several threads.
class TensorView : public TensorFile {
 public:
  /// Fills `out`, the bytes of the tensor that is seen.
  using Maker = std::function<void(std::span<const std::byte> stored, std::span<std::byte> out)>;

  explicit TensorView(std::shared_ptr<const TensorFile> file) : file_(std::move(file)) {}

  /// `seen` is `stored`, or its bytes [offset, offset + size), or what `make` makes of these. Of two tensors
  /// with one name the reader sees the second as one too many, and refuses it.
  void add(const TensorInfo& seen, const TensorInfo& stored, uint64_t offset_bytes, uint64_t size_bytes,
           Maker make = {});
  void add(const TensorInfo& stored) { add(stored, stored, 0, stored.size_bytes); }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override;
  void check_unchanged() const override { file_->check_unchanged(); }
  void release_pages() const override;

 private:
  struct Place {
    TensorInfo stored;
    uint64_t offset_bytes, size_bytes;
    Maker make;
  };

  std::shared_ptr<const TensorFile> file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Place> places_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<std::byte>> made_;
};

}  // namespace phalanx::formats
