#pragma once
#include <simdjson.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer_error.h"

namespace phalanx::data {

/// A value of a JSON file that knows its place, so that every complaint can name it.
class JsonValue {
 public:
  JsonValue(simdjson::dom::element element, const std::string& file, std::string path)
      : element_(element), file_(file), path_(std::move(path)) {}

  bool is_null() const { return element_.is_null(); }
  bool is_object() const { return element_.is_object(); }
  bool is_array() const { return element_.is_array(); }
  bool is_string() const { return element_.is_string(); }

  std::string_view text() const;  // each fails with kSchema when the value has another type
  uint32_t character() const;     ///< a string of one character
  bool boolean() const;
  int64_t integer() const;
  double number() const;
  simdjson::dom::array array() const;
  simdjson::dom::object object() const;
  std::vector<JsonValue> items() const;

  JsonValue at(std::string_view key) const;                   ///< fails when absent
  std::optional<JsonValue> find(std::string_view key) const;  ///< nothing when absent or null
  bool flag(std::string_view key, bool when_absent) const;
  /// Fails with kSchema for a key that is none of `known`: it may change ids.
  void allow_keys(std::initializer_list<std::string_view> known) const;
  std::string json() const { return simdjson::minify(element_); }
  std::string_view type() const { return at("type").text(); }
  const std::string& path() const { return path_; }
  const std::string& file() const { return file_; }

  [[noreturn]] void wrong(std::string_view wanted) const;  ///< kSchema: "PATH is VALUE, must be WANTED"
  template <typename... Args>
  [[noreturn]] void fail(TokenizerErrorKind kind, fmt::format_string<Args...> format, Args&&... args) const {
    fail_tokenizer(kind, "{}: {}: {}", file_, path_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  simdjson::dom::element element_;
  const std::string& file_;
  std::string path_;
};

/// A whole JSON file: RFC 8259, no byte-order mark, no duplicate keys, at most 64 levels.
class JsonDocument {
 public:
  /// @param path  what messages call the root, where `json` is a part of the file.
  JsonDocument(std::string_view json, std::string file, std::string path = "file");
  JsonValue root() const { return JsonValue(root_, file_, path_); }

 private:
  std::string file_;
  std::string path_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace phalanx::data
