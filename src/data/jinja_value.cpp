#include "data/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data/jinja_error.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

constexpr size_t kIndexAbove = 12;  // a linear search is faster below
constexpr uint64_t kMostCompared = uint64_t{256} << 20;

bool equal_items(const std::vector<Value>& left, const std::vector<Value>& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), equal);
}

bool equal_dicts(const Dict& left, const Dict& right) {
  if (&left == &right) return true;
  if (left.size() != right.size() || left.extent().depth != right.extent().depth) return false;
  if (left.extent().bytes > kMostCompared) fail(ErrorKind::kSteps, "values too large to compare");
  return std::all_of(left.items().begin(), left.items().end(), [&](const auto& item) {
    const Value* other = right.find(item.first);
    return other != nullptr && equal(item.second, *other);
  });
}

bool equal_numbers(const Value& left, const Value& right) {
  if (!left.is_double() && !right.is_double()) return left.integer() == right.integer();
  return to_double(left) == to_double(right);
}

std::string join_repr(const std::vector<Value>& items) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    out += repr(items[i]);
  }
  return out;
}

std::string repr_list(const List& list) {
  if (!list.is_tuple) return "[" + join_repr(list.items) + "]";
  return "(" + join_repr(list.items) + (list.items.size() == 1 ? ",)" : ")");
}

std::string repr_dict(const Dict& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.items()) {
    if (out.size() > 1) out += ", ";
    out += repr(key) + ": " + repr(value);
  }
  return out + "}";
}

}  // namespace

void Extent::add(const Extent& part) {
  constexpr uint64_t kMost = uint64_t{1} << 62;
  depth = std::max(depth, part.depth + 1);
  bytes = std::min(kMost, bytes + part.bytes);
}

Value::Value(List list) {
  for (const Value& item : list.items) list.extent.add(jinja::extent(item));
  storage_ = std::make_shared<const List>(std::move(list));
}

Extent extent(const Value& value) {
  if (value.is_text()) return {0, 16 + value.text().size()};
  if (value.is_list()) return value.list().extent;
  if (value.is_dict()) return value.dict().extent();
  return {};
}

void Dict::set(const Value& key, Value value) {
  extent_.add(jinja::extent(key));
  extent_.add(jinja::extent(value));
  if (const Value* found = find(key)) {
    const_cast<Value&>(*found) = std::move(value);  // not shared yet: only its builder calls set
    return;
  }
  items_.emplace_back(key, std::move(value));
  if (items_.size() <= kIndexAbove) return;
  const size_t first = index_.empty() ? 0 : items_.size() - 1;
  for (size_t i = first; i < items_.size(); ++i) {
    if (items_[i].first.is_text()) index_.emplace(items_[i].first.text(), i);
  }
}

const Value* Dict::find(std::string_view key) const {
  if (items_.size() > kIndexAbove) {
    const auto found = index_.find(std::string(key));
    return found == index_.end() ? nullptr : &items_[found->second].second;
  }
  for (const auto& item : items_) {
    if (item.first.is_text() && item.first.text() == key) return &item.second;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_text()) return find(std::string_view(key.text()));
  for (const auto& item : items_) {
    if (equal(item.first, key)) return &item.second;
  }
  return nullptr;
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_double()) return to_double(value) != 0.0;
  if (value.is_number()) return value.integer() != 0;
  if (value.is_text()) return !value.text().empty();
  if (value.is_list()) return !value.items().empty();
  if (value.is_dict()) return value.dict().size() != 0;
  return true;
}

bool equal(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return equal_numbers(left, right);
  if (left.storage().index() != right.storage().index()) return false;
  if (left.is_undefined() || left.is_none()) return true;
  if (left.is_text()) return left.text() == right.text();
  if (left.is_list()) {
    if (&left.list() == &right.list()) return true;
    if (left.list().is_tuple != right.list().is_tuple || left.items().size() != right.items().size())
      return false;
    if (std::min(left.list().extent.bytes, right.list().extent.bytes) > kMostCompared)
      fail(ErrorKind::kSteps, "values too large to compare");
    return equal_items(left.items(), right.items());
  }
  if (left.is_dict()) return equal_dicts(left.dict(), right.dict());
  if (const auto* loop = left.get_if<std::shared_ptr<Loop>>())
    return *loop == *right.get_if<std::shared_ptr<Loop>>();
  if (const auto* space = left.get_if<std::shared_ptr<Namespace>>()) {
    return *space == *right.get_if<std::shared_ptr<Namespace>>();
  }
  return *left.get_if<std::shared_ptr<const Callable>>() == *right.get_if<std::shared_ptr<const Callable>>();
}

bool less(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (!left.is_double() && !right.is_double()) return left.integer() < right.integer();
    return to_double(left) < to_double(right);
  }
  if (left.is_text() && right.is_text()) return left.text() < right.text();  // UTF-8 keeps code point order
  if (left.is_list() && right.is_list() && left.list().is_tuple == right.list().is_tuple) {
    const auto& a = left.items();
    const auto& b = right.items();
    if (std::min(extent(left).bytes, extent(right).bytes) > kMostCompared)
      fail(ErrorKind::kSteps, "values too large to compare");
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (!equal(a[i], b[i])) return less(a[i], b[i]);
    }
    return a.size() < b.size();
  }
  const ErrorKind kind =
      left.is_undefined() || right.is_undefined() ? ErrorKind::kUndefined : ErrorKind::kType;
  fail(kind, "cannot order {} and {}", type_name(left), type_name(right));
}

double to_double(const Value& number) {
  const double* value = number.get_if<double>();
  return value != nullptr ? *value : static_cast<double>(number.integer());
}

std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "undefined";
  if (value.is_none()) return "none";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_double()) return "float";
  if (value.is_text()) return "str";
  if (value.is_list()) return value.list().is_tuple ? "tuple" : "list";
  if (value.is_dict()) return "dict";
  if (value.get_if<std::shared_ptr<Loop>>() != nullptr) return "loop";
  return value.get_if<std::shared_ptr<Namespace>>() != nullptr ? "namespace" : "function";
}

std::string str(const Value& value) {
  return value.is_text() ? value.text() : repr(value);
}

std::string repr(const Value& value) {
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_int()) return std::to_string(value.integer());
  if (value.is_double()) return format_double(to_double(value));
  if (value.is_text()) return value.is_safe() ? "Markup(" + quote(value.text()) + ")" : quote(value.text());
  if (value.is_list()) return repr_list(value.list());
  if (value.is_dict()) return repr_dict(value.dict());
  fail(ErrorKind::kType, "a {} cannot be printed", type_name(value));
}

std::string format_double(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string text(buffer,
                         scientific.ptr);  // shortest digits, exponent of at least two digits as in Python
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

}  // namespace phalanx::data::jinja
