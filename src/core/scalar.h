#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace phalanx::core {

/// What a plain (unquoted) scalar is in the core schema of YAML 1.2. Spellings that other YAML versions read
/// as something else (012, 1_000, 1:20, yes) are never converted.
enum class ScalarKind { kNull, kBool, kInteger, kFloat, kInfinityOrNan, kOctalOrHex, kString };
ScalarKind classify_scalar(std::string_view text);

/// The number, or why it is none: "has a leading zero; write 12", ready to follow "is 012, which ".
std::variant<int64_t, std::string> parse_integer(
    std::string_view text);                                             ///< also 1e9 and 2.0: integral floats
std::variant<double, std::string> parse_number(std::string_view text);  ///< finite

/// "true", 2.0e-05, 17, "a text": the shortest text that reads back to the same value, by this file or any
/// YAML reader.
std::string format_number(double value);
std::string format_string(std::string_view text);

}  // namespace phalanx::core
