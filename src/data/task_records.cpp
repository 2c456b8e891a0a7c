#include "data/task_records.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "data/json_value.h"

namespace phalanx::data {
namespace {

constexpr std::string_view kScheme = "task:";

/// Numbers of one question, in the order in which they are asked for.
class Draw {
 public:
  Draw(uint64_t seed, int64_t index) : seed_(seed), stream_(static_cast<uint64_t>(index)) {}
  int64_t between(int64_t low, int64_t high) {
    const auto span = static_cast<uint64_t>(high - low + 1);
    return low + static_cast<int64_t>(core::random_bits(seed_, stream_, next_++) % span);
  }
  template <class T>
  const T& one_of(const std::vector<T>& items) {
    return items[static_cast<size_t>(between(0, static_cast<int64_t>(items.size()) - 1))];
  }

 private:
  uint64_t seed_, stream_, next_ = 0;
};

int64_t power_of_ten(int64_t digits) {
  int64_t value = 1;
  for (int64_t i = 0; i < std::clamp<int64_t>(digits, 1, 9); ++i) value *= 10;
  return value;
}

constexpr const char* kNumberAlone = " Answer with the number alone.";

TaskQuestion arithmetic(uint64_t seed, int64_t index, int64_t difficulty) {
  Draw draw(seed, index);
  const int64_t top = power_of_ten(difficulty) - 1, a = draw.between(0, top), b = draw.between(0, top);
  switch (draw.between(0, 2)) {
    case 0:
      return {fmt::format("What is {} + {}?{}", a, b, kNumberAlone), std::to_string(a + b)};
    case 1:
      return {fmt::format("What is {} - {}?{}", a, b, kNumberAlone), std::to_string(a - b)};
    default:
      return {fmt::format("What is {} * {}?{}", a, b, kNumberAlone), std::to_string(a * b)};
  }
}

TaskQuestion addition(uint64_t seed, int64_t index, int64_t difficulty) {
  Draw draw(seed, index);
  const int64_t top = power_of_ten(difficulty) - 1, a = draw.between(0, top), b = draw.between(0, top);
  return {fmt::format("What is {} + {}?{}", a, b, kNumberAlone), std::to_string(a + b)};
}

/// The numbers are joined from left to right to make a target, so there is a way; then they are sorted.
TaskQuestion countdown_question(uint64_t seed, int64_t index, int64_t difficulty) {
  Draw draw(seed, index);
  constexpr int64_t kMaxTarget = 999;
  std::vector<int64_t> numbers = {draw.between(1, 25)};
  int64_t target = numbers[0];
  for (int64_t i = 0; i < std::clamp<int64_t>(difficulty, 1, 7); ++i) {
    const int64_t next = draw.between(1, 25);
    switch (draw.between(0, 3)) {
      case 0:
        target = target * next <= kMaxTarget ? target * next : target + next;
        break;
      case 1:
        target = target % next == 0 ? target / next : target + next;
        break;
      case 2:
        target = target > next ? target - next : target + next;
        break;
      default:
        target += next;
    }
    numbers.push_back(next);
  }
  std::sort(numbers.begin(), numbers.end());
  return {
      fmt::format("Use some of the numbers {}, each at most once, with +, -, *, / and parentheses to make "
                  "{}. Answer with the expression alone.",
                  fmt::join(numbers, ", "), target),
      std::to_string(target), numbers};
}

TaskQuestion modular(uint64_t seed, int64_t index, int64_t difficulty) {
  Draw draw(seed, index);
  const int64_t top = power_of_ten(difficulty) - 1;
  const int64_t a = draw.between(1, top), b = draw.between(1, top),
                m = draw.between(2, std::max<int64_t>(9, top / 5));
  return {fmt::format("What is the remainder of {} + {} divided by {}?{}", a, b, m, kNumberAlone),
          std::to_string((a + b) % m)};
}

TaskQuestion sorting(uint64_t seed, int64_t index, int64_t difficulty) {
  Draw draw(seed, index);
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < std::clamp<int64_t>(difficulty + 1, 2, 50); ++i)
    numbers.push_back(draw.between(0, 99));
  const std::string given = fmt::format("{}", fmt::join(numbers, ", "));
  std::sort(numbers.begin(), numbers.end());
  return {
      fmt::format("Sort these numbers from smallest to largest: {}. Answer with the numbers alone, separated "
                  "by commas and spaces.",
                  given),
      fmt::format("{}", fmt::join(numbers, ", "))};
}

TaskQuestion word_problem(uint64_t seed, int64_t index, int64_t difficulty) {
  static const std::vector<std::string> kNames = {"Ada",  "Ben", "Chen", "Dora",
                                                  "Emil", "Fay", "Goro", "Hana"};
  static const std::vector<std::string> kThings = {"apples", "books", "coins", "eggs", "pens", "stamps"};
  Draw draw(seed, index);
  const int64_t top = power_of_ten(difficulty) - 1, a = draw.between(2, top), b = draw.between(1, top);
  const std::string &who = draw.one_of(kNames), &things = draw.one_of(kThings);
  switch (draw.between(0, 2)) {
    case 0:
      return {fmt::format("{} has {} {} and gets {} more. How many {} does {} have now?{}", who, a, things, b,
                          things, who, kNumberAlone),
              std::to_string(a + b)};
    case 1:
      return {fmt::format("{} has {} {} and gives {} of them away. How many {} are left?{}", who,
                          std::max(a, b), things, std::min(a, b), things, kNumberAlone),
              std::to_string(std::max(a, b) - std::min(a, b))};
    default: {
      const int64_t boxes = draw.between(2, 9);
      return {fmt::format("{} has {} boxes with {} {} in each. How many {} does {} have?{}", who, boxes, a,
                          things, things, who, kNumberAlone),
              std::to_string(boxes * a)};
    }
  }
}

const TaskKind& find_task(std::string_view name) {
  std::vector<std::string> names;
  for (const TaskKind& kind : task_kinds()) {
    if (kind.name == name) return kind;
    names.push_back(kind.name);
  }
  core::fail(core::ExitCode::kBadConfig, "task \"{}\" is not known; known are {}",
             core::printable(std::string(name)), fmt::join(names, ", "));
}

class TaskRecords : public RecordReader {
 public:
  explicit TaskRecords(const std::string& path) {
    std::vector<std::string> parts;
    for (size_t begin = kScheme.size(); begin <= path.size();) {
      const size_t end = std::min(path.find(',', begin), path.size());
      parts.push_back(path.substr(begin, end - begin));
      begin = end + 1;
    }
    kind_ = &find_task(parts[0]);
    for (size_t i = 1; i < parts.size(); ++i) set(path, parts[i]);
  }

  std::string_view container() const override { return "made-up questions"; }

  bool next(RawRecord& record) override {
    if (index_ == count_) return false;
    const TaskQuestion made = kind_->make(static_cast<uint64_t>(seed_), index_, difficulty_);
    nlohmann::ordered_json json = {{"prompt", {{{"role", "user"}, {"content", made.question}}}},
                                   {"ground_truth", made.ground_truth},
                                   {"task", kind_->name}};
    if (!made.numbers.empty()) json["numbers"] = made.numbers;
    record = {json.dump(), ++index_, 0, {}};
    return true;
  }

  jinja::Value parse(const RawRecord& record) const override { return parse_record_json(record.text); }

 private:
  void set(const std::string& path, const std::string& part) {
    const size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    int64_t* target = key == "count"        ? &count_
                      : key == "difficulty" ? &difficulty_
                      : key == "seed"       ? &seed_
                                            : nullptr;
    const char* begin = part.data() + std::min(part.size(), equals + 1);
    const auto [end, error] =
        target ? std::from_chars(begin, part.data() + part.size(), *target) : std::from_chars_result{};
    if (!target || equals == std::string::npos || error != std::errc() || end != part.data() + part.size() ||
        *target < 0) {
      core::fail(
          core::ExitCode::kBadConfig,
          "{}: \"{}\" is not known; behind the task's name stand count=N, difficulty=N and seed=N, joined by "
          "commas",
          core::printable(path), core::printable(part));
    }
  }

  const TaskKind* kind_;
  int64_t count_ = 10000, difficulty_ = 2, seed_ = 0, index_ = 0;
};

}  // namespace

const std::vector<TaskKind>& task_kinds() {
  static const std::vector<TaskKind> kinds = {
      {"addition", "Sums of two numbers of `difficulty` digits.", addition},
      {"arithmetic", "Sums, differences and products of two numbers of `difficulty` digits.", arithmetic},
      {"countdown", "`difficulty` + 1 numbers to be joined to a target.", countdown_question},
      {"modular", "Remainders of a sum.", modular},
      {"sorting", "`difficulty` + 1 numbers to be sorted.", sorting},
      {"word_problem", "One-step stories with numbers of `difficulty` digits.", word_problem},
  };
  return kinds;
}

bool is_task_path(const std::string& path) {
  return path.starts_with(kScheme);
}

std::unique_ptr<RecordReader> open_task(const std::string& path) {
  return std::make_unique<TaskRecords>(path);
}

}  // namespace phalanx::data
