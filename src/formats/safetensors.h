#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "formats/output_file.h"
#include "formats/safetensors_header.h"
#include "formats/tensor_writer.h"

namespace phalanx::formats {

/// One safetensors file, memory mapped.
class SafetensorsFile : public TensorFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const override { return header_.tensors; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override;
  void check_unchanged() const override { file_.check_unchanged(); }
  void release_pages() const override { file_.release_pages(); }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

 private:
  GuardedFile file_;
  SafetensorsHeader header_;
};

/// Writes one safetensors file as the reference does: tensors by type (large elements first), then by name;
/// header padded with spaces so that 8 + N is a multiple of 8. The file appears under its name in finish().
class SafetensorsWriter : public SingleFileWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
  /// One of several ranks that write the file together. The first makes it; the caller sees to it that the
  /// others come later, and that all have synced before the first publishes.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                    const std::map<std::string, std::string>& metadata, const WriterShare& share,
                    OutputFile::Role role);

  const std::vector<TensorSpec>& tensors() const override { return tensors_; }  ///< in file order
  void finish() override;
  void sync();
  void publish() { file_.publish(); }

 private:
  void write_part(size_t index, uint64_t offset_bytes, std::span<const std::byte> bytes) override;

  std::vector<TensorSpec> tensors_;
  std::vector<uint64_t> offsets_;  // from the start of the file
  OutputFile file_;
};

}  // namespace phalanx::formats
