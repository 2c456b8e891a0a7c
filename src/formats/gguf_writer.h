#pragma once
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "formats/gguf_metadata.h"
#include "formats/output_file.h"
#include "formats/tensor_writer.h"

namespace phalanx::formats {

/// Metadata of a GGUF file to be written, in the order of the calls. llama.cpp wants the integers of
/// "{arch}." keys as u32 and their numbers as f32, and refuses others. A key twice is a core::Error kBug.
class GgufPairs {
 public:
  GgufPairs& u16(std::string_view key, uint16_t value);
  GgufPairs& u32(std::string_view key, uint32_t value);
  GgufPairs& i32(std::string_view key, int32_t value);
  GgufPairs& u64(std::string_view key, uint64_t value);
  GgufPairs& f32(std::string_view key, float value);
  GgufPairs& boolean(std::string_view key, bool value);
  GgufPairs& text(std::string_view key, std::string_view value);
  GgufPairs& texts(std::string_view key, std::span<const std::string> values);
  GgufPairs& i32s(std::string_view key, std::span<const int32_t> values);
  GgufPairs& f32s(std::string_view key, std::span<const float> values);
  GgufPairs& copy(std::string_view key, const GgufValue& value);  ///< as it was read from another file

  bool has(std::string_view key) const { return keys_.contains(key); }
  size_t count() const { return keys_.size(); }
  const std::string& bytes() const { return bytes_; }  ///< as they stand in the file

 private:
  GgufPairs& begin(std::string_view key, GgufType type);
  GgufPairs& begin_array(std::string_view key, GgufType type, uint64_t count);

  std::set<std::string, std::less<>> keys_;
  std::string bytes_;
};

/// Writes a GGUF version 3 file with tensors of type F32, F16, BF16, Q8_0 or whatever raw bytes are given, in
/// the order of `tensors`. The file appears under its name in finish().
class GgufWriter : public SingleFileWriter {
 public:
  /// @param rank  collective over its ranks, as is finish().
  /// @throws core::Error kBadConfig for a name over 63 bytes, more than 4 dimensions, or rows that Q8_0
  /// cannot hold.
  GgufWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors, const GgufPairs& metadata,
             WriterRank rank = {});

  const std::vector<TensorSpec>& tensors() const override { return tensors_; }
  void finish() override;

 private:
  void write_part(size_t index, uint64_t offset_bytes, std::span<const std::byte> bytes) override;

  WriterRank rank_;
  std::vector<TensorSpec> tensors_;
  std::vector<uint64_t> offsets_;  // from the start of the file
  std::optional<OutputFile> file_;
};

}  // namespace phalanx::formats
