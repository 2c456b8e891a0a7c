#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "data/jinja_filters_sequence.h"
#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

/// Text as jinja2's soft_str: Markup stays Markup, everything else becomes plain text.
Value soft(Interpreter& interpreter, const Value& v) {
  const Value text = v.is_text() ? v : interpreter.make_text(interpreter.to_text(v));
  interpreter.charge_scan(text.text().size());
  return text;
}

template <std::string (*Map)(std::string_view)>
Value filter_map(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("filter", a, {});
  const Value text = soft(interpreter, v);
  return interpreter.make_text(Map(text.text()), text.is_safe());
}

Value filter_trim(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("trim", a, {"chars"});
  const Value text = soft(interpreter, v);
  const auto characters = bound.has(0) ? std::optional<std::string_view>(bound.text(0)) : std::nullopt;
  const std::string_view stripped = strip(text.text(), characters, true, true);
  if (stripped.size() == text.text().size()) return text;
  return interpreter.make_text(std::string(stripped), text.is_safe());
}

Value filter_replace(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"});
  const std::string old = interpreter.to_text(bound.require(0));
  const std::string fresh = interpreter.to_text(bound.require(1));
  const Value text = soft(interpreter, v);
  const size_t most = old.empty() ? text.text().size() + 1 : text.text().size() / old.size();
  if (fresh.size() > old.size()) {
    Arguments count;
    count.positional = {Value(old)};
    const int64_t matches = old.empty() ? static_cast<int64_t>(most)
                                        : find_method(text, "count")(interpreter, text, count).integer();
    interpreter.charge_bytes(static_cast<uint64_t>(matches) * fresh.size());
  }
  return interpreter.make_text(replace(text.text(), old, fresh, bound.integer_or(2, -1)));
}

Value filter_string(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("string", a, {});
  return soft(interpreter, v);
}

Value filter_safe(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("safe", a, {});
  return interpreter.make_text(soft(interpreter, v).text(), true);
}

Value filter_escape(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("escape", a, {});
  const Value text = soft(interpreter, v);
  return text.is_safe() ? text : interpreter.make_text(escape_html(text.text()), true);
}

Value filter_default(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("default", a, {"default_value", "boolean"});
  if (!v.is_undefined() && !(bound.truth_or(1, false) && !truthy(v))) return v;
  return bound.get(0) != nullptr ? *bound.get(0) : Value("");
}

Value filter_length(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("length", a, {});
  if (v.is_list()) return static_cast<int64_t>(v.items().size());
  if (v.is_dict()) return static_cast<int64_t>(v.dict().size());
  if (v.is_undefined()) return 0;
  if (!v.is_text()) fail(ErrorKind::kType, "a value of type {} has no length", type_name(v));
  interpreter.charge_scan(v.text().size());
  return count_code_points(v.text());
}

std::optional<double> parse_double(std::string_view text) {
  std::string digits(strip(text, std::nullopt, true, true));
  std::erase(digits, '_');
  const char* first = digits.data() + (digits.starts_with('+') ? 1 : 0);
  double value = 0;
  const auto result = std::from_chars(first, digits.data() + digits.size(), value);
  if (result.ptr != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) return std::nullopt;
  return result.ec == std::errc{} ? std::optional<double>(value) : std::nullopt;
}

std::optional<int64_t> double_to_integer(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::abs(value) >= 9223372036854775808.0) fail(ErrorKind::kArithmetic, "an integer outside int64");
  return static_cast<int64_t>(value);
}

/// Python's int(text, base): sign, blanks around, underscores between digits, a prefix for its base.
std::optional<int64_t> parse_integer(std::string_view text, int base) {
  std::string digits(strip(text, std::nullopt, true, true));
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  const auto has_prefix = [&](char lower) {
    return digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == lower;
  };
  if ((base == 16 && has_prefix('x')) || (base == 8 && has_prefix('o')) || (base == 2 && has_prefix('b')))
    digits.erase(0, 2);
  if (digits.empty() || digits.front() == '_' || digits.back() == '_' || digits[0] == '-')
    return std::nullopt;
  std::erase(digits, '_');
  if (negative) digits.insert(0, "-");
  int64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (result.ptr != digits.data() + digits.size()) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) fail(ErrorKind::kArithmetic, "an integer outside int64");
  return result.ec == std::errc{} ? std::optional<int64_t>(value) : std::nullopt;
}

Value filter_int(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("int", a, {"default", "base"});
  const Value fallback = bound.get(0) != nullptr ? *bound.get(0) : Value(0);
  if (v.is_undefined()) fail(ErrorKind::kUndefined, "int of an undefined value");
  if (v.is_int() || v.is_bool()) return v.integer();
  std::optional<int64_t> value;
  if (v.is_double()) value = double_to_integer(to_double(v));
  if (v.is_text()) {
    interpreter.charge_scan(v.text().size());
    const int64_t base = bound.integer_or(1, 10);
    if (base < 2 || base > 36) fail(ErrorKind::kType, "int with base {}; 2 to 36 are possible", base);
    value = parse_integer(v.text(), static_cast<int>(base));
    if (!value) {
      if (const auto number = parse_double(v.text())) value = double_to_integer(*number);
    }
  }
  return value ? Value(*value) : fallback;
}

Value filter_float(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("float", a, {"default"});
  if (v.is_undefined()) fail(ErrorKind::kUndefined, "float of an undefined value");
  if (v.is_number()) return to_double(v);
  if (v.is_text()) {
    interpreter.charge_scan(v.text().size());
    if (const auto number = parse_double(v.text())) return *number;
  }
  return bound.get(0) != nullptr ? *bound.get(0) : Value(0.0);
}

Value filter_abs(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("abs", a, {});
  if (v.is_double()) return std::abs(to_double(v));
  if (!v.is_number()) fail(ErrorKind::kType, "abs of a value of type {}", type_name(v));
  return v.integer() < 0 ? negate(v) : Value(v.integer());
}

Value filter_round(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("round", a, {"precision", "method"});
  if (!v.is_number()) fail(ErrorKind::kType, "round of a value of type {}", type_name(v));
  const int64_t precision = std::clamp<int64_t>(bound.integer_or(0, 0), -20, 300);
  const std::string method = bound.text_or(1, "common");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(to_double(v) * scale) / scale;
  if (method == "floor") return std::floor(to_double(v) * scale) / scale;
  if (method != "common")
    fail(ErrorKind::kType, "round: method '{}'; common, ceil and floor exist", core::printable(method, 40));
  if (!v.is_double())
    return precision >= 0 ? Value(v.integer())
                          : Value(static_cast<int64_t>(std::nearbyint(to_double(v) * scale) / scale));
  if (precision < 0) return std::nearbyint(to_double(v) * scale) / scale;
  const std::string digits = fmt::format("{:.{}f}", to_double(v), precision);
  double rounded = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), rounded);
  return rounded;
}

Value filter_tojson(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("tojson", a, {"ensure_ascii", "indent", "separators", "sort_keys"});
  const int64_t indent = bound.integer_or(1, -1);
  std::string item = indent >= 0 ? "," : ", ";
  std::string key = ": ";
  if (bound.has(2)) {
    const std::vector<Value> separators = interpreter.iterate(*bound.get(2));
    if (separators.size() != 2 || !separators[0].is_text() || !separators[1].is_text())
      fail(ErrorKind::kType, "tojson: separators are two texts");
    item = separators[0].text();
    key = separators[1].text();
  }
  if (indent > 64 || item.size() > 64 || key.size() > 64)
    fail(ErrorKind::kOutput, "tojson: indent and separators are at most 64 wide");
  const Extent size = extent(v);
  const uint64_t wide =
      static_cast<uint64_t>(std::max<int64_t>(indent, 0)) * static_cast<uint64_t>(size.depth) + item.size() +
      key.size();
  interpreter.charge_bytes(size.bytes + size.bytes / 16 * (wide > 8 ? wide : 0));
  return interpreter.make_text(
      to_json(v, indent, bound.truth_or(0, false), bound.truth_or(3, false), item, key));
}

Value filter_indent(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("indent", a, {"width", "first", "blank"});
  const Value text = soft(interpreter, v);
  std::string blanks;
  if (bound.has(0) && bound.get(0)->is_text()) {
    blanks = bound.text(0);
  } else {
    blanks.assign(static_cast<size_t>(std::clamp<int64_t>(bound.integer_or(0, 4), 0, 1000)), ' ');
  }
  std::vector<std::string_view> lines = split_lines(text.text(), false);
  if (text.text().empty() || text.text().ends_with('\n')) lines.emplace_back();
  interpreter.charge_bytes(lines.size() * blanks.size());
  std::string out = bound.truth_or(1, false) ? blanks : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (bound.truth_or(2, false) || !lines[i].empty())) out += blanks;
    out += lines[i];
  }
  return interpreter.make_text(std::move(out), text.is_safe());
}

const std::map<std::string_view, FilterFunction>& filters() {
  static const std::map<std::string_view, FilterFunction> table = [] {
    std::map<std::string_view, FilterFunction> made = {{"trim", filter_trim},
                                                       {"replace", filter_replace},
                                                       {"string", filter_string},
                                                       {"safe", filter_safe},
                                                       {"escape", filter_escape},
                                                       {"e", filter_escape},
                                                       {"default", filter_default},
                                                       {"d", filter_default},
                                                       {"length", filter_length},
                                                       {"count", filter_length},
                                                       {"upper", filter_map<upper>},
                                                       {"lower", filter_map<lower>},
                                                       {"capitalize", filter_map<capitalize>},
                                                       {"title", filter_map<title>},
                                                       {"int", filter_int},
                                                       {"float", filter_float},
                                                       {"abs", filter_abs},
                                                       {"round", filter_round},
                                                       {"tojson", filter_tojson},
                                                       {"indent", filter_indent}};
    for (const auto& [name, function] : sequence_filters()) made.emplace(name, function);
    return made;
  }();
  return table;
}

}  // namespace

FilterFunction find_filter(std::string_view name) {
  const auto found = filters().find(name);
  return found == filters().end() ? nullptr : found->second;
}

std::vector<std::string> filter_names() {
  std::vector<std::string> names;
  for (const auto& entry : filters()) names.emplace_back(entry.first);
  return names;
}

}  // namespace phalanx::data::jinja
