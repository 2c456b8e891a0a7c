#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace phalanx::formats {

/// Receives a JSON text piece by piece, for texts too large to be kept as a tree (core/json.h has the tree).
/// Functions throw on what they do not accept; depth and duplicate keys are theirs to check.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual void on_null() = 0;
  virtual void on_bool(bool value) = 0;
  virtual void on_unsigned(uint64_t value) = 0;
  virtual void on_negative(int64_t value) = 0;  ///< an integer with a minus sign
  virtual void on_float(double value) = 0;      ///< with a point or exponent, or beyond 64 bits
  virtual void on_string(std::string value) = 0;
  virtual void on_key(std::string key) = 0;
  virtual void on_begin(bool is_object) = 0;
  virtual void on_end() = 0;
};

/// Feeds `text` to `handler`. Anything but RFC 8259 is a FormatError (kInvalidJson, kInvalidUtf8, kNumber)
/// that names `path` and the byte, counted from `text_offset_bytes`, where the text begins in the file.
void parse_json_events(std::string_view text, const std::filesystem::path& path, uint64_t text_offset_bytes,
                       JsonHandler& handler);

}  // namespace phalanx::formats
