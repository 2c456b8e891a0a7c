#include "reward/verifiers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "reward/expression.h"
#include "reward/judgement.h"
#include "reward/pattern.h"

namespace phalanx::reward {
namespace {

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

using Compare = std::function<Score(std::string_view answer, const data::Record& record)>;

/// Compares the part of each answer that counts (all of it, or the first group of the last match of a
/// pattern) with what its record says.
std::unique_ptr<Reward> verifier(const TermOptions& options, Compare compare) {
  std::shared_ptr<const Pattern> pattern;
  if (!options.pattern.empty())
    pattern =
        std::make_shared<Pattern>(options.pattern, 1, fmt::format("reward.terms: {}: pattern", options.name));
  const auto judge = [pattern, compare = std::move(compare)](const Sample& sample) -> Judgement {
    if (!pattern) return {compare(sample.completion, *sample.record), {}};
    std::string_view group;
    switch (pattern->find_last(sample.completion, &group)) {
      case Pattern::Outcome::kTooCostly:
        return too_costly(sample.completion);
      case Pattern::Outcome::kYes:
        return {compare(group, *sample.record), {}};
      default:
        // No answer is a wrong one, but only where there is something to be right about.
        return {compare("", *sample.record) ? Score(0.0) : std::nullopt, {}};
    }
  };
  return std::make_unique<EachSample>(judge);
}

/// The last line that is not blank.
std::string_view last_line(std::string_view text) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  if (last == std::string_view::npos) return {};
  text = text.substr(0, last + 1);
  const size_t line_end = text.rfind('\n');
  return line_end == std::string_view::npos ? text : text.substr(line_end + 1);
}

std::optional<int64_t> whole_number(const data::jinja::Value& value) {
  if (value.is_int()) return value.integer();
  if (!value.is_text()) return std::nullopt;
  const std::string& text = value.text();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// What a record of the task asks for: the target is its ground truth, or "target" of it or of the record;
/// the numbers are "numbers" or "nums" there.
struct CountdownGoal {
  int64_t target = 0;
  std::vector<int64_t> numbers;
};

std::optional<CountdownGoal> countdown_goal(const data::Record& record) {
  const bool is_nested = record.ground_truth.is_dict();
  const data::jinja::Dict& from = is_nested ? record.ground_truth.dict() : record.fields;
  const data::jinja::Value* target = from.find("target");
  if (target == nullptr) target = &record.ground_truth;
  const data::jinja::Value* numbers = from.find("numbers");
  if (numbers == nullptr) numbers = from.find("nums");
  const auto value = whole_number(*target);
  if (!value || numbers == nullptr || !numbers->is_list()) return std::nullopt;
  CountdownGoal goal{*value, {}};
  for (const data::jinja::Value& item : numbers->items()) {
    const auto number = whole_number(item);
    if (!number) return std::nullopt;
    goal.numbers.push_back(*number);
  }
  return goal;
}

/// Is each number among the given ones, as often as it is used?
bool uses_given(std::vector<int64_t> used, std::vector<int64_t> given) {
  std::sort(used.begin(), used.end());
  std::sort(given.begin(), given.end());
  return std::includes(given.begin(), given.end(), used.begin(), used.end());
}

}  // namespace

std::optional<std::string> ground_truth_text(const data::Record& record) {
  const data::jinja::Value& truth = record.ground_truth;
  if (truth.is_text()) return std::string(truth.text());
  if (truth.is_int()) return std::to_string(truth.integer());
  if (const double* number = truth.get_if<double>()) return fmt::format("{}", *number);
  return std::nullopt;
}

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

std::unique_ptr<Reward> exact_match(const TermOptions& options) {
  return verifier(options, [](std::string_view answer, const data::Record& record) -> Score {
    const auto truth = ground_truth_text(record);
    if (!truth) return std::nullopt;
    return bare(answer) == bare(*truth) ? 1.0 : 0.0;
  });
}

std::unique_ptr<Reward> numeric_match(const TermOptions& options) {
  return verifier(options, [](std::string_view answer, const data::Record& record) -> Score {
    const auto truth = ground_truth_text(record);
    if (!truth) return std::nullopt;
    const auto expected = last_number(*truth), found = last_number(answer);
    if (!expected) return std::nullopt;
    if (!found) return 0.0;
    return std::abs(*found - *expected) <= 1e-6 * std::max(1.0, std::abs(*expected)) ? 1.0 : 0.0;
  });
}

std::unique_ptr<Reward> countdown(const TermOptions& options) {
  return verifier(options, [](std::string_view answer, const data::Record& record) -> Score {
    const auto goal = countdown_goal(record);
    if (!goal) return std::nullopt;
    std::string_view line = bare(last_line(answer));
    line = line.substr(0, line.find('='));
    const auto expression = parse_expression(line);
    const bool is_right = expression && expression->value == Fraction{goal->target, 1} &&
                          uses_given(expression->numbers, goal->numbers);
    return is_right ? 1.0 : 0.0;
  });
}

}  // namespace phalanx::reward
