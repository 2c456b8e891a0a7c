#include "core/scalar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/error.h"

namespace phalanx::core {

namespace {

template <size_t N>
bool is_any(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

constexpr std::array<std::string_view, 5> kNull = {"", "~", "null", "Null", "NULL"};
constexpr std::array<std::string_view, 6> kBool = {"true", "True", "TRUE", "false", "False", "FALSE"};
// Booleans of YAML 1.1: strings in 1.2, quoted when we write them.
constexpr std::array<std::string_view, 16> kOldBool = {"y",  "Y",  "n",  "N",  "yes", "Yes", "YES", "no",
                                                       "No", "NO", "on", "On", "ON",  "off", "Off", "OFF"};
constexpr std::array<std::string_view, 12> kNotFinite = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf", "+.INF",
                                                         "-.inf", "-.Inf", "-.INF", ".nan",  ".NaN",  ".NAN"};

bool is_decimal_digit(char c) {
  return c >= '0' && c <= '9';
}

size_t skip_digits(std::string_view text, size_t place) {
  while (place < text.size() && is_decimal_digit(text[place])) ++place;
  return place;
}

std::string_view without_sign(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return text;
}

bool is_integer(std::string_view text) {
  text = without_sign(text);
  return !text.empty() && skip_digits(text, 0) == text.size();
}

/// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool is_float(std::string_view text) {
  text = without_sign(text);
  const size_t whole = skip_digits(text, 0);
  size_t place = whole;
  if (place < text.size() && text[place] == '.') place = skip_digits(text, place + 1);
  if (place == 0 || (whole == 0 && place == 1)) return false;  // nothing, or "." alone
  if (place < text.size() && (text[place] == 'e' || text[place] == 'E')) {
    return is_integer(text.substr(place + 1));
  }
  return place == text.size();
}

bool is_octal_or_hex(std::string_view text) {
  const auto all_of = [&](std::string_view digits) {
    return text.size() > 2 && text.find_first_not_of(digits, 2) == std::string_view::npos;
  };
  return (text.starts_with("0o") && all_of("01234567")) ||
         (text.starts_with("0x") && all_of("0123456789abcdefABCDEF"));
}

/// Why a text that is no decimal number might have been meant as one.
std::string reason_not_a_number(std::string_view text) {
  if (is_octal_or_hex(text)) return "is octal or hexadecimal; write it in decimal";
  if (is_any(text, kNotFinite)) return "is not finite";
  std::string cleaned(text);
  std::erase(cleaned, '_');
  if (cleaned.size() != text.size() && is_float(cleaned))
    return fmt::format("has underscores; write {}", cleaned);
  std::erase(cleaned, ',');
  if (cleaned.size() != text.size() && is_float(cleaned)) return fmt::format("has commas; write {}", cleaned);
  return "is not a number";
}

std::string reason_leading_zero(std::string_view text) {
  const std::string_view digits = without_sign(text);
  const size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  const std::string_view sign = text.starts_with('-') ? "-" : "";
  return fmt::format("has a leading zero (octal to some readers); write {}{}", sign, digits.substr(first));
}

bool has_leading_zero(std::string_view text) {
  text = without_sign(text);
  return text.size() > 1 && text[0] == '0' && is_decimal_digit(text[1]);
}

std::string_view for_from_chars(std::string_view text) {
  return text.starts_with('+') ? text.substr(1) : text;
}

}  // namespace

ScalarKind classify_scalar(std::string_view text) {
  if (is_any(text, kNull)) return ScalarKind::kNull;
  if (is_any(text, kBool)) return ScalarKind::kBool;
  if (is_any(text, kNotFinite)) return ScalarKind::kInfinityOrNan;
  if (is_octal_or_hex(text)) return ScalarKind::kOctalOrHex;
  if (is_integer(text)) return ScalarKind::kInteger;
  return is_float(text) ? ScalarKind::kFloat : ScalarKind::kString;
}

std::variant<double, std::string> parse_number(std::string_view text) {
  if (!is_integer(text) && !is_float(text)) return reason_not_a_number(text);
  if (has_leading_zero(text)) return reason_leading_zero(text);
  const std::string_view digits = for_from_chars(text);
  double value = 0.0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (status == std::errc::result_out_of_range) return std::string("does not fit into a double");
  if (status != std::errc() || end != digits.data() + digits.size()) return std::string("is not a number");
  return value;
}

std::variant<int64_t, std::string> parse_integer(std::string_view text) {
  if (!is_integer(text) && !is_float(text)) return reason_not_a_number(text);
  if (has_leading_zero(text)) return reason_leading_zero(text);
  if (is_integer(text)) {
    const std::string_view digits = for_from_chars(text);
    int64_t value = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (status != std::errc()) return std::string("does not fit into 64 bits");
    return value;
  }
  const auto number = parse_number(text);
  if (const auto* reason = std::get_if<std::string>(&number)) return *reason;
  const double value = std::get<double>(number);
  constexpr double kExactBelow = 9007199254740992.0;  // 2^53
  if (value != std::trunc(value)) return std::string("has a fraction");
  if (std::abs(value) > kExactBelow)
    return std::string("is too large for this spelling; write all its digits");
  return static_cast<int64_t>(value);
}

std::string format_number(double value) {
  std::string text = fmt::format("{}", value);
  const size_t exponent = text.find('e');
  const bool has_point = text.find('.') < exponent;
  if (exponent != std::string::npos && !has_point)
    text.insert(exponent, ".0");  // 2e-05 is a string in YAML 1.1
  if (exponent == std::string::npos && !has_point) text += ".0";
  return text;
}

std::string format_string(std::string_view text) {
  constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
  const bool starts_like_number =
      !text.empty() && (is_decimal_digit(text[0]) || text[0] == '-' || text[0] == '+');
  const bool is_safe = text.find_first_not_of(kSafe) == std::string_view::npos && !starts_like_number &&
                       classify_scalar(text) == ScalarKind::kString && !is_any(text, kOldBool);
  if (is_safe) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\x{:02x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace phalanx::core
