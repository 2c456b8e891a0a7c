#pragma once
#include <memory>
#include <string>
#include <unordered_map>

#include "formats/gguf_header.h"

namespace phalanx::formats {

/// A GGUF model, memory mapped; versions 2 and 3, one file or the first of its shards
/// (NAME-00001-of-00003.gguf; the others are taken from the same folder).
///
/// Tensor names and row order are the file's own: gguf_tensor.h shows them as a model's parameters.
class GgufFile : public TensorFile {
 public:
  /// @throws FormatError with file, byte offset, what was found and what is allowed.
  explicit GgufFile(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override;
  void check_unchanged() const override;
  void release_pages() const override;

  const GgufMetadata& metadata() const { return parts_.front().header.metadata; }
  uint32_t version() const { return parts_.front().header.version; }
  size_t num_shards() const { return parts_.size(); }
  const std::vector<std::string>& notices() const {
    return notices_;
  }  ///< oddities that a report should show

 private:
  struct Part {
    std::unique_ptr<GuardedFile> file;
    GgufHeader header;
  };

  void open_part(const std::filesystem::path& path);
  void open_other_shards(const std::filesystem::path& path);

  std::vector<Part> parts_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> part_of_;  // tensor name -> index in parts_
  std::vector<std::string> notices_;
};

}  // namespace phalanx::formats
