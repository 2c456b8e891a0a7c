#include "core/json.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/files.h"

namespace phalanx::core {

namespace {

constexpr int kMaxDepth = 200;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& text, uint32_t code_point) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | ((code_point >> shift) & 0x3f)); };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xc0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xe0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xf0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Json parse_document() {
    if (text_.starts_with("\xef\xbb\xbf")) stop(0, "a byte order mark; save the file as UTF-8 without BOM");
    skip_space();
    Json value = parse_value(0);
    skip_space();
    if (place_ != text_.size()) stop(place_, "{} after the end of the JSON value", found());
    return value;
  }

 private:
  template <typename... Args>
  [[noreturn]] void stop(size_t place, fmt::format_string<Args...> format, Args&&... args) const {
    fail(ExitCode::kBadInput, "{}: byte {}: {}", printable(name_), place,
         fmt::format(format, std::forward<Args>(args)...));
  }

  /// What stands at the current place, for messages.
  std::string found() const {
    if (place_ == text_.size()) return "the end of the text";
    const size_t length = std::max<size_t>(1, utf8_length(text_.substr(place_)));
    return "'" + printable(text_.substr(place_, length)) + "'";
  }

  char peek() const { return place_ < text_.size() ? text_[place_] : '\0'; }

  bool accept(char c) {
    if (peek() != c || place_ == text_.size()) return false;
    ++place_;
    return true;
  }

  void skip_space() {
    while (place_ < text_.size() && std::string_view(" \t\n\r").find(text_[place_]) != std::string_view::npos)
      ++place_;
  }

  Json parse_value(int depth) {
    switch (peek()) {
      case '{':
        return parse_object(depth + 1);
      case '[':
        return parse_array(depth + 1);
      case '"':
        return parse_string();
      case 't':
        return parse_word("true", true);
      case 'f':
        return parse_word("false", false);
      case 'n':
        return parse_word("null", nullptr);
      default:
        return parse_number();
    }
  }

  Json parse_word(std::string_view word, Json value) {
    if (!text_.substr(place_).starts_with(word)) stop(place_, "{}, a value is expected", found());
    place_ += word.size();
    return value;
  }

  void check_depth(int depth) const {
    if (depth > kMaxDepth) stop(place_, "nested deeper than {} levels", kMaxDepth);
  }

  Json parse_array(int depth) {
    check_depth(depth);
    ++place_;
    Json array = Json::array();
    auto& elements = array.get_ref<Json::array_t&>();
    skip_space();
    if (accept(']')) return array;
    while (true) {
      skip_space();
      elements.push_back(parse_value(depth));
      skip_space();
      if (accept(']')) return array;
      if (!accept(',')) stop(place_, "{}, ',' or ']' is expected", found());
    }
  }

  Json parse_object(int depth) {
    check_depth(depth);
    ++place_;
    Json object = Json::object();
    // Appended to the vector below: the map's own insertion searches all keys, quadratic for a vocabulary.
    auto& members = static_cast<Json::object_t::Container&>(object.get_ref<Json::object_t&>());
    std::unordered_set<std::string> seen;
    skip_space();
    if (accept('}')) return object;
    while (true) {
      skip_space();
      const size_t key_place = place_;
      if (peek() != '"') stop(place_, "{}, a key in double quotes is expected", found());
      std::string key = parse_string();
      if (!seen.insert(key).second) stop(key_place, "the key \"{}\" is there twice", printable(key, 60));
      skip_space();
      if (!accept(':')) stop(place_, "{}, ':' is expected", found());
      skip_space();
      Json value = parse_value(depth);
      members.emplace_back(std::move(key), std::move(value));
      skip_space();
      if (accept('}')) return object;
      if (!accept(',')) stop(place_, "{}, ',' or '}}' is expected", found());
    }
  }

  std::string parse_string() {
    const size_t start = place_++;
    std::string value;
    while (true) {
      if (place_ == text_.size()) stop(start, "a string without closing quote");
      const auto byte = static_cast<unsigned char>(text_[place_]);
      if (byte == '"') break;
      if (byte < 0x20)
        stop(place_, "the control character 0x{:02x} in a string; write it as \\u{:04x}", byte, byte);
      if (byte == '\\') {
        parse_escape(value);
        continue;
      }
      const size_t length = utf8_length(text_.substr(place_));
      if (length == 0) stop(place_, "the byte 0x{:02x} is not valid UTF-8", byte);
      value.append(text_, place_, length);
      place_ += length;
    }
    ++place_;
    return value;
  }

  void parse_escape(std::string& value) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    const size_t start = place_++;
    if (accept('u')) {
      append_utf8(value, parse_code_point(start));
      return;
    }
    const size_t letter = place_ < text_.size() ? kLetters.find(text_[place_]) : std::string_view::npos;
    if (letter == std::string_view::npos) stop(start, "an unknown escape \\ before {}", found());
    value += kMeanings[letter];
    ++place_;
  }

  /// After "\u": four hexadecimal digits, and the second half of a surrogate pair.
  uint32_t parse_code_point(size_t start) {
    const uint32_t first = parse_hex4(start);
    if (first < 0xd800 || first > 0xdfff) return first;
    if (first > 0xdbff || !accept('\\') || !accept('u')) stop(start, "a lone surrogate \\u{:04x}", first);
    const uint32_t second = parse_hex4(start);
    if (second < 0xdc00 || second > 0xdfff) stop(start, "a lone surrogate \\u{:04x}", first);
    return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
  }

  uint32_t parse_hex4(size_t start) {
    uint32_t value = 0;
    const std::string_view digits = text_.substr(place_, 4);
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (status != std::errc() || end != digits.data() + 4) stop(start, "\\u without four hexadecimal digits");
    place_ += 4;
    return value;
  }

  void skip_digits() {
    if (!is_digit(peek())) stop(place_, "{}, a digit is expected", found());
    while (is_digit(peek())) ++place_;
  }

  Json parse_number() {
    const size_t start = place_;
    accept('-');
    if (!is_digit(peek())) {
      place_ = start;
      stop(start, "{}, a value is expected", found());
    }
    if (accept('0')) {
      if (is_digit(peek())) stop(start, "a number with a leading zero");
    } else {
      skip_digits();
    }
    bool is_integer = true;
    if (accept('.')) {
      is_integer = false;
      skip_digits();
    }
    if (accept('e') || accept('E')) {
      is_integer = false;
      if (!accept('+')) accept('-');
      skip_digits();
    }
    const std::string token(text_.substr(start, place_ - start));
    if (is_integer) {
      if (const auto value = to_integer<int64_t>(token)) return *value;
      if (const auto value = to_integer<uint64_t>(token)) return *value;
    }
    return to_double(token, start);
  }

  template <typename Integer>
  static std::optional<Integer> to_integer(const std::string& token) {
    Integer value = 0;
    const auto [end, status] = std::from_chars(token.data(), token.data() + token.size(), value);
    if (status != std::errc() || end != token.data() + token.size()) return std::nullopt;
    return value;
  }

  double to_double(const std::string& token, size_t start) const {
    double value = 0.0;
    const auto [end, status] = std::from_chars(token.data(), token.data() + token.size(), value);
    if (status == std::errc()) return value;
    value = std::strtod(token.c_str(),
                        nullptr);  // from_chars does not tell too small, which rounds to 0, from too large
    if (!std::isfinite(value)) stop(start, "the number {} does not fit into a double", printable(token, 40));
    return value;
  }

  std::string_view text_;
  const std::string& name_;
  size_t place_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& name) {
  return Parser(text, name).parse_document();
}

Json read_json(const std::string& path, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path);
}

std::string to_text(const Json& json, int indent) {
  try {
    return json.dump(indent);
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::kBug, "a value cannot be written as JSON: {}", printable(error.what()));
  }
}

}  // namespace phalanx::core
