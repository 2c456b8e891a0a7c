#include "reward/expression.h"

#include <charconv>
#include <limits>
#include <numeric>

namespace phalanx::reward {
namespace {

constexpr size_t kMaxExpressionBytes = 512, kMaxExpressionNumbers = 64;
constexpr int kMaxExpressionDepth = 32;

using Wide = __int128;

std::optional<Fraction> lowest_terms(Wide numerator, Wide denominator) {
  if (denominator == 0) return std::nullopt;
  if (denominator < 0) {
    numerator = -numerator;
    denominator = -denominator;
  }
  Wide a = numerator < 0 ? -numerator : numerator, b = denominator;
  while (b != 0) {
    const Wide rest = a % b;
    a = b;
    b = rest;
  }
  numerator /= a;
  denominator /= a;
  constexpr Wide kMost = std::numeric_limits<int64_t>::max();
  if (numerator > kMost || numerator < -kMost || denominator > kMost) return std::nullopt;
  return Fraction{static_cast<int64_t>(numerator), static_cast<int64_t>(denominator)};
}

/// Both operands are below 2^63, so that no product and no sum of two products leaves 128 bits.
std::optional<Fraction> apply(char operation, const Fraction& x, const Fraction& y) {
  const Wide a = x.numerator, b = x.denominator, c = y.numerator, d = y.denominator;
  switch (operation) {
    case '+':
      return lowest_terms(a * d + c * b, b * d);
    case '-':
      return lowest_terms(a * d - c * b, b * d);
    case '*':
      return lowest_terms(a * c, b * d);
    default:
      return lowest_terms(a * d, b * c);
  }
}

/// Recursive descent: sum = product {(+|-) product}, product = factor {(*|/) factor}, factor = number |
/// (sum).
class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view text) : text_(text) {}

  std::optional<Expression> parse() {
    const auto value = sum(0);
    if (!value || peek() != 0) return std::nullopt;
    return Expression{*value, std::move(numbers_)};
  }

 private:
  /// The next sign, 0 at the end; Unicode's operators as their ASCII twins.
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
    width_ = 1;
    if (at_ == text_.size()) return 0;
    struct Twin {
      std::string_view unicode;
      char ascii;
    };
    static constexpr Twin kTwins[] = {{"\u00D7", '*'}, {"\u22C5", '*'}, {"\u00F7", '/'}, {"\u2212", '-'}};
    for (const Twin& twin : kTwins) {
      if (!text_.substr(at_).starts_with(twin.unicode)) continue;
      width_ = twin.unicode.size();
      return twin.ascii;
    }
    return text_[at_] == 0 ? '?' : text_[at_];
  }
  char take() {
    const char sign = peek();
    at_ += width_;
    return sign;
  }

  std::optional<Fraction> sum(int depth) {
    auto value = product(depth);
    while (value && (peek() == '+' || peek() == '-')) {
      const char operation = take();
      value = join(operation, *value, product(depth));
    }
    return value;
  }
  std::optional<Fraction> product(int depth) {
    auto value = factor(depth);
    while (value && (peek() == '*' || peek() == '/')) {
      const char operation = take();
      value = join(operation, *value, factor(depth));
    }
    return value;
  }
  static std::optional<Fraction> join(char operation, const Fraction& left,
                                      const std::optional<Fraction>& right) {
    return right ? apply(operation, left, *right) : std::nullopt;
  }

  std::optional<Fraction> factor(int depth) {
    if (peek() != '(') return number();
    if (depth == kMaxExpressionDepth) return std::nullopt;
    take();
    const auto value = sum(depth + 1);
    return value && take() == ')' ? value : std::nullopt;
  }

  std::optional<Fraction> number() {
    peek();
    int64_t value = 0;
    const char* begin = text_.data() + at_;
    const char* end = text_.data() + text_.size();
    if (begin == end || *begin < '0' || *begin > '9' || numbers_.size() == kMaxExpressionNumbers)
      return std::nullopt;
    const auto [rest, error] = std::from_chars(begin, end, value);
    if (error != std::errc()) return std::nullopt;
    at_ += static_cast<size_t>(rest - begin);
    numbers_.push_back(value);
    return Fraction{value, 1};
  }

  std::string_view text_;
  size_t at_ = 0, width_ = 1;
  std::vector<int64_t> numbers_;
};

}  // namespace

std::optional<Expression> parse_expression(std::string_view text) {
  if (text.size() > kMaxExpressionBytes) return std::nullopt;
  return ExpressionParser(text).parse();
}

}  // namespace phalanx::reward
