#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace phalanx::reward {

/// An exact value: numerator / denominator in lowest terms, denominator > 0.
struct Fraction {
  int64_t numerator = 0, denominator = 1;
  bool operator==(const Fraction&) const = default;
};

/// What an arithmetic expression is worth and which numbers it is made of.
struct Expression {
  Fraction value;
  std::vector<int64_t> numbers;  ///< in the order in which they stand
};

/// Reads whole numbers, + - * / (also as the signs of multiplication, division and minus of Unicode),
/// parentheses and blanks, with the usual precedence; no sign before a number. At most 512 bytes, 64 numbers
/// and 32 parentheses inside of each other. Nothing for anything else, a division by 0, or a value that does
/// not fit into int64.
std::optional<Expression> parse_expression(std::string_view text);

}  // namespace phalanx::reward
