#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "formats/gguf_metadata.h"
#include "formats/gguf_writer.h"

// The keys that a GGUF file has for its architecture: "{arch}.context_length" and so on.
namespace phalanx::formats {

constexpr int64_t kMaxGgufLayers = 512, kMaxGgufExperts = 1024, kMaxGgufSize = int64_t{1} << 24,
                  kMaxGgufContext = int64_t{1} << 31;

/// Reads them, without the prefix. @throws FormatError naming key, value and range.
class GgufKeys {
 public:
  GgufKeys(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  const GgufMetadata& metadata() const { return metadata_; }
  std::string name(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return metadata_.has(name(key)); }

  int64_t integer(std::string_view key, int64_t min, int64_t max) const;
  int64_t integer_or(std::string_view key, int64_t absent, int64_t min, int64_t max) const;
  /// Above 0. Numbers are f32 in the file: 1e-5f becomes the double 1e-5, and not 9.99999974737875e-06.
  double positive(std::string_view key) const;
  double positive_or(std::string_view key, double absent) const;
  std::string text_or(std::string_view key, std::string_view absent) const;
  bool boolean_or(std::string_view key, bool absent) const;

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
};

/// Writes them as llama.cpp wants them: integers as u32, numbers as f32.
class GgufKeyWriter {
 public:
  GgufKeyWriter(GgufPairs& pairs, std::string_view architecture)
      : pairs_(pairs), prefix_(std::string(architecture) + ".") {}

  GgufKeyWriter& integer(std::string_view key, int64_t value);
  GgufKeyWriter& number(std::string_view key, double value);
  GgufKeyWriter& text(std::string_view key, std::string_view value);
  GgufKeyWriter& boolean(std::string_view key, bool value);

 private:
  GgufPairs& pairs_;
  std::string prefix_;
};

}  // namespace phalanx::formats
