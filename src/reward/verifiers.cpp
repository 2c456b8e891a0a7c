#include "reward/verifiers.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace phalanx::reward {
namespace {

std::optional<std::string> ground_truth_text(const data::Record& record) {
  const data::jinja::Value& truth = record.ground_truth;
  if (truth.is_text()) return std::string(truth.text());
  if (truth.is_int()) return std::to_string(truth.integer());
  if (const double* number = truth.get_if<double>()) return fmt::format("{}", *number);
  return std::nullopt;
}

std::string_view bare(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  text = text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
  if (text.ends_with('.')) text.remove_suffix(1);
  return text;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Compares each completion with its ground truth.
class Verifier : public Reward {
 public:
  using Compare =
      std::function<std::optional<double>(const std::string& completion, const std::string& truth)>;
  explicit Verifier(Compare compare) : compare_(std::move(compare)) {}

  std::vector<std::optional<double>> score(std::span<const Sample> samples) override {
    std::vector<std::optional<double>> scores;
    for (const Sample& sample : samples) {
      const auto truth = ground_truth_text(*sample.record);
      scores.push_back(truth ? compare_(sample.completion, *truth) : std::nullopt);
    }
    return scores;
  }

 private:
  Compare compare_;
};

}  // namespace

std::optional<double> last_number(std::string_view text) {
  size_t end = text.find_last_of("0123456789");
  if (end == std::string_view::npos) return std::nullopt;
  size_t begin = end++;
  const auto belongs = [&](size_t i) {
    return is_digit(text[i]) || ((text[i] == ',' || text[i] == '.') && i > 0 && is_digit(text[i - 1]));
  };
  while (begin > 0 && belongs(begin - 1)) --begin;
  if (begin > 0 && text[begin - 1] == '.') --begin;  // .5
  const bool is_negative = begin > 0 && text[begin - 1] == '-' && (begin == 1 || !is_digit(text[begin - 2]));
  std::string digits;
  for (const char c : text.substr(begin, end - begin)) {
    if (c != ',') digits += c;
  }
  double value = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || rest != digits.data() + digits.size()) return std::nullopt;
  if (end < text.size() && text[end] == '%') value /= 100;
  if (begin > 0 && text[begin - 1] == '/') {  // a fraction: what stands before it is the numerator
    const auto numerator = last_number(text.substr(0, begin - 1));
    if (numerator && value != 0 && begin >= 2 && is_digit(text[begin - 2])) return *numerator / value;
  }
  return is_negative ? -value : value;
}

std::unique_ptr<Reward> exact_match(const TermOptions&) {
  return std::make_unique<Verifier>([](const std::string& completion, const std::string& truth) {
    return std::optional<double>(bare(completion) == bare(truth) ? 1.0 : 0.0);
  });
}

std::unique_ptr<Reward> numeric_match(const TermOptions&) {
  return std::make_unique<Verifier>(
      [](const std::string& completion, const std::string& truth) -> std::optional<double> {
        const auto expected = last_number(truth), found = last_number(completion);
        if (!expected) return std::nullopt;
        if (!found) return 0.0;
        return std::abs(*found - *expected) <= 1e-6 * std::max(1.0, std::abs(*expected)) ? 1.0 : 0.0;
      });
}

}  // namespace phalanx::reward
