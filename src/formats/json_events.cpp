#include "formats/json_events.h"

#include <nlohmann/json.hpp>

#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

using nlohmann::json;
using Kind = FormatErrorKind;

/// nlohmann's SAX interface, passed on to a JsonHandler.
class SaxAdapter : public nlohmann::json_sax<json> {
 public:
  SaxAdapter(const std::filesystem::path& path, uint64_t offset, JsonHandler& handler)
      : path_(path), offset_(offset), handler_(handler) {}

  bool null() override { return handler_.on_null(), true; }
  bool boolean(bool value) override { return handler_.on_bool(value), true; }
  bool number_integer(int64_t value) override { return handler_.on_negative(value), true; }
  bool number_unsigned(uint64_t value) override { return handler_.on_unsigned(value), true; }
  bool number_float(double value, const std::string&) override { return handler_.on_float(value), true; }
  bool string(std::string& value) override { return handler_.on_string(std::move(value)), true; }
  bool binary(json::binary_t&) override { return false; }
  bool start_object(size_t) override { return handler_.on_begin(true), true; }
  bool key(std::string& value) override { return handler_.on_key(std::move(value)), true; }
  bool end_object() override { return handler_.on_end(), true; }
  bool start_array(size_t) override { return handler_.on_begin(false), true; }
  bool end_array() override { return handler_.on_end(), true; }

  bool parse_error(size_t position, const std::string&, const json::exception& error) override {
    const std::string_view message = error.what();
    const bool encoding = message.find("UTF-8") != message.npos || message.find("surrogate") != message.npos;
    const bool number = error.id == 406;  // out_of_range: a number beyond fp64
    fail_at(encoding ? Kind::kInvalidUtf8
            : number ? Kind::kNumber
                     : Kind::kInvalidJson,
            path_, offset_ + (position > 0 ? position - 1 : 0), "{}",
            encoding ? "is not UTF-8 text"
            : number ? "has a number that is too large for 64-bit floating point"
                     : "is not valid JSON here");
  }

 private:
  const std::filesystem::path& path_;
  uint64_t offset_;
  JsonHandler& handler_;
};

}  // namespace

void parse_json_events(std::string_view text, const std::filesystem::path& path, uint64_t text_offset,
                       JsonHandler& handler) {
  // The parser below would skip a byte order mark and take a NUL for the end.
  if (text.starts_with("\xEF\xBB\xBF"))
    fail_at(Kind::kInvalidJson, path, text_offset,
            "begins with a byte order mark; save it as UTF-8 without one");
  if (const size_t nul = text.find('\0'); nul != text.npos)
    fail_at(Kind::kInvalidJson, path, text_offset + nul, "has a NUL byte, which JSON does not allow");
  SaxAdapter adapter(path, text_offset, handler);
  json::sax_parse(text, &adapter);
}

}  // namespace phalanx::formats
