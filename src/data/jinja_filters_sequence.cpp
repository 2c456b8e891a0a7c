#include "data/jinja_filters_sequence.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

Value attribute_path(Interpreter& interpreter, const Value& item, const Value& path) {
  if (!path.is_text()) return interpreter.subscript(item, path);
  Value at = item;
  for (const std::string_view part : split(path.text(), ".", -1)) {
    int64_t index = 0;
    const auto number = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part[0] != '-' && number.ptr == part.data() + part.size() &&
                          number.ec == std::errc{};
    at = interpreter.subscript(at, is_index ? Value(index) : Value(part));
  }
  return at;
}

Value fold_case(const Value& value, bool case_sensitive) {
  return !case_sensitive && value.is_text() ? Value(lower(value.text())) : value;
}

/// Key of an item for sort, unique, min and max.
Value sort_key(Interpreter& interpreter, const Value& item, const Value* attribute, bool case_sensitive) {
  const bool whole = attribute == nullptr || attribute->is_none();
  return fold_case(whole ? item : attribute_path(interpreter, item, *attribute), case_sensitive);
}

void charge_sort(Interpreter& interpreter, size_t count) {
  int64_t levels = 1;
  for (size_t n = count; n > 1; n /= 2) ++levels;
  interpreter.charge_steps(levels * static_cast<int64_t>(count));
}

std::vector<Value> sorted(Interpreter& interpreter, std::vector<Value> items, const std::vector<Value>& keys,
                          bool reverse) {
  charge_sort(interpreter, items.size());
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? less(keys[b], keys[a]) : less(keys[a], keys[b]);
  });
  std::vector<Value> out;
  for (const size_t i : order) out.push_back(std::move(items[i]));
  return out;
}

Value filter_first(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("first", a, {});
  const std::vector<Value> items = interpreter.iterate(v);
  return items.empty() ? Value(Undefined{}) : items.front();
}

Value filter_last(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("last", a, {});
  const std::vector<Value> items = interpreter.iterate(v);
  return items.empty() ? Value(Undefined{}) : items.back();
}

Value filter_list(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("list", a, {});
  return interpreter.make_list(interpreter.iterate(v));
}

Value filter_reverse(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("reverse", a, {});
  if (v.is_text()) return slice(interpreter, v, None{}, None{}, -1);
  std::vector<Value> items = interpreter.iterate(v);
  std::reverse(items.begin(), items.end());
  return interpreter.make_list(std::move(items));
}

Value filter_items(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("items", a, {});
  if (v.is_undefined()) return interpreter.make_list({});
  if (!v.is_dict()) fail(ErrorKind::kType, "items of a value of type {}", type_name(v));
  return find_method(v, "items")(interpreter, v, {});
}

Value filter_dictsort(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("dictsort", a, {"case_sensitive", "by", "reverse"});
  if (!v.is_dict())
    fail(v.is_undefined() ? ErrorKind::kUndefined : ErrorKind::kType, "dictsort of a value of type {}",
         type_name(v));
  const std::string by = bound.text_or(1, "key");
  if (by != "key" && by != "value") fail(ErrorKind::kType, "dictsort: by is 'key' or 'value'");
  std::vector<Value> items = find_method(v, "items")(interpreter, v, {}).items();
  std::vector<Value> keys;
  for (const Value& item : items)
    keys.push_back(fold_case(item.items()[by == "key" ? 0 : 1], bound.truth_or(0, false)));
  return interpreter.make_list(sorted(interpreter, std::move(items), keys, bound.truth_or(2, false)));
}

Value filter_sort(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("sort", a, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> items = interpreter.iterate(v);
  std::vector<Value> keys;
  for (const Value& item : items)
    keys.push_back(sort_key(interpreter, item, bound.get(2), bound.truth_or(1, false)));
  return interpreter.make_list(sorted(interpreter, std::move(items), keys, bound.truth_or(0, false)));
}

Value filter_unique(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("unique", a, {"case_sensitive", "attribute"});
  std::vector<Value> kept;
  std::vector<Value> keys;
  for (Value& item : interpreter.iterate(v)) {
    Value key = sort_key(interpreter, item, bound.get(1), bound.truth_or(0, false));
    interpreter.charge_steps(static_cast<int64_t>(keys.size() / 16));
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& other) { return equal(key, other); }))
      continue;
    keys.push_back(std::move(key));
    kept.push_back(std::move(item));
  }
  return interpreter.make_list(std::move(kept));
}

template <bool Largest>
Value filter_extreme(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("min/max", a, {"case_sensitive", "attribute"});
  Value best;
  Value best_key;
  for (const Value& item : interpreter.iterate(v)) {
    Value key = sort_key(interpreter, item, bound.get(1), bound.truth_or(0, false));
    const bool better = best.is_undefined() || (Largest ? less(best_key, key) : less(key, best_key));
    if (!better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}

Value filter_sum(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("sum", a, {"attribute", "start"});
  Value total = bound.get(1) != nullptr ? *bound.get(1) : Value(0);
  for (const Value& item : interpreter.iterate(v)) {
    const Value part = bound.has(0) ? attribute_path(interpreter, item, *bound.get(0)) : item;
    total = apply_operator(interpreter, Expression::Kind::kAdd, total, part);
  }
  return total;
}

Value filter_join(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("join", a, {"d", "attribute"});
  const std::string separator = bound.get(0) != nullptr ? interpreter.to_text(*bound.get(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : interpreter.iterate(v)) {
    const Value part = bound.has(1) ? attribute_path(interpreter, item, *bound.get(1)) : item;
    const std::string text = interpreter.to_text(part);
    interpreter.charge_bytes(text.size() + separator.size());
    if (!first) out += separator;
    first = false;
    out += text;
  }
  return interpreter.make_text(std::move(out));
}

/// The arguments behind the first `used` positional ones, for a filter or test that is named by an argument.
Arguments rest(const Arguments& arguments, size_t used) {
  Arguments out;
  out.positional.assign(
      arguments.positional.begin() + static_cast<int64_t>(std::min(used, arguments.positional.size())),
      arguments.positional.end());
  out.named = arguments.named;
  return out;
}

/// What map, select and their like go through: they take anything false for an empty list.
std::vector<Value> items_of(Interpreter& interpreter, const Value& v) {
  return truthy(v) ? interpreter.iterate(v) : std::vector<Value>();
}

Value map_attribute(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("map", a, {"attribute", "default"});
  std::vector<Value> out;
  for (const Value& item : items_of(interpreter, v)) {
    Value found = attribute_path(interpreter, item, bound.require(0));
    out.push_back(found.is_undefined() && bound.get(1) != nullptr ? *bound.get(1) : std::move(found));
  }
  return interpreter.make_list(std::move(out));
}

Value filter_map(Interpreter& interpreter, const Value& v, const Arguments& a) {
  if (a.positional.empty()) {
    Arguments named;
    named.named = a.named;
    return map_attribute(interpreter, v, named);
  }
  if (!a.positional[0].is_text()) fail(ErrorKind::kType, "map needs the name of a filter");
  const Arguments arguments = rest(a, 1);
  std::vector<Value> out;
  for (const Value& item : items_of(interpreter, v))
    out.push_back(interpreter.filter(a.positional[0].text(), item, arguments));
  return interpreter.make_list(std::move(out));
}

/// select, reject (`with_attribute` false), selectattr, rejectattr: keep items whose test gives `wanted`.
Value choose(Interpreter& interpreter, const Value& v, const Arguments& a, bool with_attribute, bool wanted) {
  const size_t test_at = with_attribute ? 1 : 0;
  if (with_attribute && a.positional.empty())
    fail(ErrorKind::kType, "selectattr and rejectattr need the name of an attribute");
  const bool has_test = a.positional.size() > test_at;
  if (has_test && !a.positional[test_at].is_text()) fail(ErrorKind::kType, "the name of a test is a text");
  const Arguments arguments = rest(a, test_at + 1);
  std::vector<Value> out;
  for (const Value& item : items_of(interpreter, v)) {
    const Value subject = with_attribute ? attribute_path(interpreter, item, a.positional[0]) : item;
    const bool passes =
        has_test ? interpreter.test(a.positional[test_at].text(), subject, arguments) : truthy(subject);
    if (passes == wanted) out.push_back(item);
  }
  return interpreter.make_list(std::move(out));
}
Value filter_select(Interpreter& i, const Value& v, const Arguments& a) {
  return choose(i, v, a, false, true);
}
Value filter_reject(Interpreter& i, const Value& v, const Arguments& a) {
  return choose(i, v, a, false, false);
}
Value filter_selectattr(Interpreter& i, const Value& v, const Arguments& a) {
  return choose(i, v, a, true, true);
}
Value filter_rejectattr(Interpreter& i, const Value& v, const Arguments& a) {
  return choose(i, v, a, true, false);
}

}  // namespace

const std::vector<std::pair<std::string_view, FilterFunction>>& sequence_filters() {
  static const std::vector<std::pair<std::string_view, FilterFunction>> table = {
      {"first", filter_first},
      {"last", filter_last},
      {"list", filter_list},
      {"reverse", filter_reverse},
      {"items", filter_items},
      {"dictsort", filter_dictsort},
      {"sort", filter_sort},
      {"unique", filter_unique},
      {"min", filter_extreme<false>},
      {"max", filter_extreme<true>},
      {"sum", filter_sum},
      {"join", filter_join},
      {"map", filter_map},
      {"select", filter_select},
      {"reject", filter_reject},
      {"selectattr", filter_selectattr},
      {"rejectattr", filter_rejectattr}};
  return table;
}

}  // namespace phalanx::data::jinja
