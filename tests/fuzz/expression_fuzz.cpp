#include "reward/expression.h"

#include <fmt/format.h>

#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

/// Answers of the task "countdown".
void fuzz_expression(std::string_view input) {
  const auto expression = reward::parse_expression(input);
  if (!expression) return;
  promise(!expression->numbers.empty() && expression->numbers.size() <= 64,
          "an expression has numbers, not too many");
  promise(expression->value.denominator > 0, "a value is in lowest terms");
  const auto again = reward::parse_expression(fmt::format("({}) - (1 - 1)", input));
  promise(!again || again->value == expression->value, "parentheses and a zero change nothing");
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(expression, phalanx::fuzz::fuzz_expression)
