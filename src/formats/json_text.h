#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace phalanx::formats {

/// Limits on JSON that somebody else wrote.
constexpr size_t kMaxJsonDepth = 64;
constexpr size_t kMaxJsonBytes = 64u << 20;

/// Parses strict RFC 8259 JSON. A byte order mark, a NUL, invalid UTF-8, a lone surrogate, a number beyond
/// fp64, a duplicate key and anything behind the value are errors; so is text beyond the limits above.
/// @throws FormatError naming `path` and the byte.
nlohmann::json parse_json(std::string_view text, const std::filesystem::path& path);

/// The same for a whole file.
nlohmann::json read_json(const std::filesystem::path& path);

/// Feeds `text` to a handler with nlohmann's SAX functions (see JsonHandler). Checks the encoding, not the
/// limits.
class JsonHandler;
void parse_json(std::string_view text, const std::filesystem::path& path, uint64_t text_offset,
                JsonHandler& handler);

/// Base of handlers: every event is refused unless overridden. Overrides throw on what they do not accept.
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

}  // namespace phalanx::formats
