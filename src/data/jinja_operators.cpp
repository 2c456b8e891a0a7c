#include <algorithm>
#include <cmath>
#include <limits>

#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

using Kind = Expression::Kind;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

[[noreturn]] void fail_overflow() {
  fail(ErrorKind::kArithmetic, "an integer outside int64");
}
[[noreturn]] void fail_zero() {
  fail(ErrorKind::kArithmetic, "division by zero");
}

[[noreturn]] void fail_types(std::string_view op, const Value& left, const Value& right) {
  const bool missing = left.is_undefined() || right.is_undefined();
  fail(missing ? ErrorKind::kUndefined : ErrorKind::kType, "'{}' of {} and {}", op, type_name(left),
       type_name(right));
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
  return result;
}

int64_t floor_divide(int64_t left, int64_t right) {
  if (right == 0) fail_zero();
  if (left == kMin && right == -1) fail_overflow();
  const int64_t quotient = left / right;
  return left % right != 0 && ((left < 0) != (right < 0)) ? quotient - 1 : quotient;
}

int64_t floor_modulo(int64_t left, int64_t right) {
  if (right == 0) fail_zero();
  if (right == -1) return 0;
  const int64_t rest = left % right;
  return rest != 0 && ((rest < 0) != (right < 0)) ? rest + right : rest;
}

Value integers(Kind kind, int64_t left, int64_t right) {
  int64_t result = 0;
  bool overflow = false;
  switch (kind) {
    case Kind::kAdd:
      overflow = __builtin_add_overflow(left, right, &result);
      break;
    case Kind::kSubtract:
      overflow = __builtin_sub_overflow(left, right, &result);
      break;
    case Kind::kMultiply:
      overflow = __builtin_mul_overflow(left, right, &result);
      break;
    case Kind::kFloorDivide:
      return floor_divide(left, right);
    case Kind::kModulo:
      return floor_modulo(left, right);
    case Kind::kDivide:
      if (right == 0) fail_zero();
      return static_cast<double>(left) / static_cast<double>(right);
    default:
      if (right >= 0) return power(left, right);
      if (left == 0) fail_zero();
      return std::pow(static_cast<double>(left), static_cast<double>(right));
  }
  if (overflow) fail_overflow();
  return result;
}

Value doubles(Kind kind, double left, double right) {
  switch (kind) {
    case Kind::kAdd:
      return left + right;
    case Kind::kSubtract:
      return left - right;
    case Kind::kMultiply:
      return left * right;
    case Kind::kPower: {
      const double result = std::pow(left, right);
      if (std::isinf(result) && std::isfinite(left) && std::isfinite(right))
        fail(ErrorKind::kArithmetic, "a power outside the range of floats");
      return result;
    }
    default:
      break;
  }
  if (right == 0.0) fail_zero();
  if (kind == Kind::kDivide) return left / right;
  double rest = std::fmod(left, right);
  if (rest != 0.0 && ((rest < 0) != (right < 0))) rest += right;
  if (kind == Kind::kModulo) return rest == 0.0 ? std::copysign(0.0, right) : rest;
  return std::floor((left - rest) / right + 0.5);
}

Value add(Interpreter& interpreter, const Value& left, const Value& right) {
  if (left.is_text() && right.is_text()) {
    interpreter.charge_bytes(left.text().size() + right.text().size());
    const bool safe = left.is_safe() || right.is_safe();
    const auto part = [&](const Value& value) {
      return safe && !value.is_safe() ? escape_html(value.text()) : value.text();
    };
    return interpreter.make_text(part(left) + part(right), safe);
  }
  if (left.is_list() && right.is_list() && left.list().is_tuple == right.list().is_tuple) {
    interpreter.charge_steps(static_cast<int64_t>(left.items().size() + right.items().size()));
    std::vector<Value> items = left.items();
    items.insert(items.end(), right.items().begin(), right.items().end());
    return interpreter.make_list(std::move(items), left.list().is_tuple);
  }
  fail_types("+", left, right);
}

Value repeat(Interpreter& interpreter, const Value& value, int64_t times) {
  const uint64_t count = times < 0 ? 0 : static_cast<uint64_t>(times);
  const uint64_t size = value.is_text() ? value.text().size() : value.items().size() * 16;
  uint64_t total = 0;
  if (__builtin_mul_overflow(count, size, &total)) total = ~uint64_t{0};
  interpreter.charge_bytes(total);
  if (value.is_text()) {
    std::string text;
    for (uint64_t i = 0; size > 0 && i < count; ++i) text += value.text();
    return interpreter.make_text(std::move(text), value.is_safe());
  }
  std::vector<Value> items;
  for (uint64_t i = 0; size > 0 && i < count; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return interpreter.make_list(std::move(items), value.list().is_tuple);
}

bool is_sequence(const Value& value) {
  return value.is_text() || value.is_list();
}
bool is_integer(const Value& value) {
  return value.is_int() || value.is_bool();
}

std::string_view symbol(Kind kind) {
  switch (kind) {
    case Kind::kAdd:
      return "+";
    case Kind::kSubtract:
      return "-";
    case Kind::kMultiply:
      return "*";
    case Kind::kDivide:
      return "/";
    case Kind::kFloorDivide:
      return "//";
    case Kind::kModulo:
      return "%";
    default:
      return "**";
  }
}

/// Python's slice.indices: the positions that begin:end:step selects of `size` items.
std::vector<size_t> slice_positions(int64_t size, const Value& begin, const Value& end,
                                    const Value& step_value) {
  const auto integer = [](const Value& value) {
    if (!is_integer(value)) fail(ErrorKind::kType, "a slice of {}; integers are needed", type_name(value));
    return value.integer();
  };
  const int64_t step = step_value.is_none() ? 1 : integer(step_value);
  if (step == 0) fail(ErrorKind::kType, "a slice with step 0");
  const int64_t low = step > 0 ? 0 : -1;
  const int64_t high = step > 0 ? size : size - 1;
  const auto bound = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    const int64_t at = integer(value);
    return std::clamp(at < 0 ? std::max(at, -size - 1) + size : at, low, high);
  };
  const int64_t first = bound(begin, step > 0 ? low : high);
  const int64_t last = bound(end, step > 0 ? high : low);
  std::vector<size_t> positions;
  for (int64_t at = first; step > 0 ? at < last : at > last;) {
    positions.push_back(static_cast<size_t>(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return positions;
}

}  // namespace

Value apply_operator(Interpreter& interpreter, Kind kind, const Value& left, const Value& right) {
  if (is_integer(left) && is_integer(right)) return integers(kind, left.integer(), right.integer());
  if (left.is_number() && right.is_number()) return doubles(kind, to_double(left), to_double(right));
  if (kind == Kind::kAdd) return add(interpreter, left, right);
  if (kind == Kind::kMultiply && is_sequence(left) && is_integer(right))
    return repeat(interpreter, left, right.integer());
  if (kind == Kind::kMultiply && is_integer(left) && is_sequence(right))
    return repeat(interpreter, right, left.integer());
  if (kind == Kind::kModulo && left.is_text())
    fail(ErrorKind::kAttribute, "formatting with % is not allowed in templates; join with ~");
  fail_types(symbol(kind), left, right);
}

Value negate(const Value& value) {
  if (value.is_double()) return -to_double(value);
  if (!is_integer(value))
    fail(value.is_undefined() ? ErrorKind::kUndefined : ErrorKind::kType, "- of a value of type {}",
         type_name(value));
  if (value.integer() == kMin) fail_overflow();
  return -value.integer();
}

bool contains(Interpreter& interpreter, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) fail_types("in", item, container);
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  if (container.is_undefined()) return false;
  if (!container.is_list()) fail_types("in", item, container);
  interpreter.charge_steps(static_cast<int64_t>(container.items().size() / 16));
  return std::any_of(container.items().begin(), container.items().end(),
                     [&](const Value& other) { return equal(item, other); });
}

Value slice(Interpreter& interpreter, const Value& value, const Value& begin, const Value& end,
            const Value& step) {
  if (value.is_list()) {
    std::vector<Value> items;
    for (const size_t at : slice_positions(static_cast<int64_t>(value.items().size()), begin, end, step))
      items.push_back(value.items()[at]);
    interpreter.charge_steps(static_cast<int64_t>(items.size()));
    return interpreter.make_list(std::move(items), value.list().is_tuple);
  }
  if (!value.is_text()) fail(ErrorKind::kType, "a slice of a value of type {}", type_name(value));
  interpreter.charge_scan(value.text().size());
  const std::u32string characters = to_code_points(value.text());
  std::string text;
  for (const size_t at : slice_positions(static_cast<int64_t>(characters.size()), begin, end, step))
    append_utf8(text, characters[at]);
  return interpreter.make_text(std::move(text), value.is_safe());
}

}  // namespace phalanx::data::jinja
