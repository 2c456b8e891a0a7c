#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

using Table = std::map<std::string_view, MethodFunction>;

std::optional<std::string_view> optional_text(const Bound& bound, size_t i) {
  return bound.has(i) ? std::optional<std::string_view>(bound.text(i)) : std::nullopt;
}

Value pieces(Interpreter& interpreter, const std::vector<std::string_view>& parts, bool safe) {
  interpreter.charge_steps(static_cast<int64_t>(parts.size()));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(interpreter.make_text(std::string(part), safe));
  return interpreter.make_list(std::move(items));
}

void scan(Interpreter& interpreter, const Value& text) {
  interpreter.charge_scan(text.text().size());
}

Value cut(Interpreter& interpreter, const Value& text, const Arguments& arguments, std::string_view name,
          bool from_right) {
  scan(interpreter, text);
  const Bound bound(name, arguments, {"sep", "maxsplit"});
  const std::optional<std::string_view> separator = optional_text(bound, 0);
  if (separator && separator->empty()) fail(ErrorKind::kType, "{} by an empty text", name);
  const int64_t limit = bound.integer_or(1, -1);
  const auto parts =
      from_right ? rsplit(text.text(), separator, limit) : split(text.text(), separator, limit);
  return pieces(interpreter, parts, text.is_safe());
}
Value text_split(Interpreter& i, const Value& v, const Arguments& a) {
  return cut(i, v, a, "split", false);
}
Value text_rsplit(Interpreter& i, const Value& v, const Arguments& a) {
  return cut(i, v, a, "rsplit", true);
}
Value text_splitlines(Interpreter& i, const Value& v, const Arguments& a) {
  scan(i, v);
  return pieces(i, split_lines(v.text(), Bound("splitlines", a, {"keepends"}).truth_or(0, false)),
                v.is_safe());
}

template <bool Left, bool Right>
Value text_strip(Interpreter& interpreter, const Value& v, const Arguments& a) {
  scan(interpreter, v);
  const Bound bound("strip", a, {"chars"});
  return interpreter.make_text(std::string(strip(v.text(), optional_text(bound, 0), Left, Right)),
                               v.is_safe());
}

template <std::string (*Map)(std::string_view)>
Value text_map(Interpreter& interpreter, const Value& v, const Arguments& a) {
  scan(interpreter, v);
  const Bound bound("case", a, {});
  return interpreter.make_text(Map(v.text()), v.is_safe());
}

std::string python_title(std::string_view text) {  // every run of letters begins with a capital
  std::string out;
  bool in_word = false;
  for (const char32_t c : to_code_points(text)) {
    const std::string one = to_utf8(std::u32string_view(&c, 1));
    out += in_word ? lower(one) : upper(one);
    in_word = lower(one) != upper(one);
  }
  return out;
}

bool any_affix(const Value& affixes, bool (*matches)(std::string_view, std::string_view),
               std::string_view text) {
  const auto one = [&](const Value& affix) {
    if (!affix.is_text())
      fail(ErrorKind::kType, "startswith and endswith need text, not {}", type_name(affix));
    return matches(text, affix.text());
  };
  if (!affixes.is_list()) return one(affixes);
  return std::any_of(affixes.items().begin(), affixes.items().end(), one);
}
Value text_startswith(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("startswith", a, {"prefix"});
  return any_affix(
      bound.require(0), [](std::string_view t, std::string_view p) { return t.starts_with(p); }, v.text());
}
Value text_endswith(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("endswith", a, {"suffix"});
  return any_affix(
      bound.require(0), [](std::string_view t, std::string_view p) { return t.ends_with(p); }, v.text());
}

uint64_t count_matches(std::string_view text, std::string_view part) {
  if (part.empty()) return static_cast<uint64_t>(count_code_points(text)) + 1;
  uint64_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

Value text_replace(Interpreter& interpreter, const Value& v, const Arguments& a) {
  scan(interpreter, v);
  const Bound bound("replace", a, {"old", "new", "count"});
  interpreter.charge_bytes(count_matches(v.text(), bound.text(0)) * bound.text(1).size());
  return interpreter.make_text(replace(v.text(), bound.text(0), bound.text(1), bound.integer_or(2, -1)),
                               v.is_safe());
}

Value position(std::string_view text, size_t byte) {
  return byte == std::string_view::npos ? int64_t{-1} : count_code_points(text.substr(0, byte));
}
Value text_find(Interpreter& i, const Value& v, const Arguments& a) {
  scan(i, v);
  return position(v.text(), v.text().find(Bound("find", a, {"sub"}).text(0)));
}
Value text_rfind(Interpreter& i, const Value& v, const Arguments& a) {
  scan(i, v);
  return position(v.text(), v.text().rfind(Bound("rfind", a, {"sub"}).text(0)));
}
Value text_count(Interpreter& i, const Value& v, const Arguments& a) {
  scan(i, v);
  return static_cast<int64_t>(count_matches(v.text(), Bound("count", a, {"sub"}).text(0)));
}

Value text_join(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("join", a, {"iterable"});
  std::string out;
  const std::vector<Value> items = interpreter.iterate(bound.require(0));
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_text())
      fail(ErrorKind::kType, "join of a {}; only text can be joined", type_name(items[i]));
    interpreter.charge_bytes(items[i].text().size() + v.text().size());
    if (i > 0) out += v.text();
    out += items[i].text();
  }
  return interpreter.make_text(std::move(out));
}

Value text_removeprefix(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("removeprefix", a, {"prefix"});
  const std::string& affix = bound.text(0);
  return interpreter.make_text(v.text().starts_with(affix) ? v.text().substr(affix.size()) : v.text(),
                               v.is_safe());
}
Value text_removesuffix(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("removesuffix", a, {"suffix"});
  const std::string& affix = bound.text(0);
  const std::string& text = v.text();
  return interpreter.make_text(text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text,
                               v.is_safe());
}

Value partition(Interpreter& interpreter, const Value& v, const Arguments& a, bool from_right) {
  const Bound bound("partition", a, {"sep"});
  const std::string& separator = bound.text(0);
  if (separator.empty()) fail(ErrorKind::kType, "partition by an empty text");
  const std::string& text = v.text();
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::array<std::string, 3> parts;
  if (at == std::string::npos) {
    parts[from_right ? 2 : 0] = text;
  } else {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  }
  std::vector<Value> items;
  for (std::string& part : parts) items.push_back(interpreter.make_text(std::move(part), v.is_safe()));
  return interpreter.make_list(std::move(items), true);
}
Value text_partition(Interpreter& i, const Value& v, const Arguments& a) {
  return partition(i, v, a, false);
}
Value text_rpartition(Interpreter& i, const Value& v, const Arguments& a) {
  return partition(i, v, a, true);
}

template <bool (*Predicate)(char32_t)>
Value text_is(Interpreter& interpreter, const Value& v, const Arguments& a) {
  scan(interpreter, v);
  const Bound bound("is", a, {});
  const std::u32string characters = to_code_points(v.text());
  return !characters.empty() && std::all_of(characters.begin(), characters.end(), Predicate);
}
bool is_ascii_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_letter(char32_t c) {
  return c < 0x80 ? is_ascii_letter(c) : is_letter_code_point(c);
}
bool is_digit(char32_t c) {
  return c < 0x80 ? c >= '0' && c <= '9' : is_digit_code_point(c);
}
bool is_letter_or_digit(char32_t c) {
  return is_letter(c) || is_digit(c);
}

Value text_isupper(Interpreter& i, const Value& v, const Arguments&) {
  return find_test("upper")(i, v, {});
}
Value text_islower(Interpreter& i, const Value& v, const Arguments&) {
  return find_test("lower")(i, v, {});
}

Value dict_get(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("get", a, {"key", "default"});
  const Value* found = v.dict().find(bound.require(0));
  return found != nullptr ? *found : bound.get(1) != nullptr ? *bound.get(1) : Value(None{});
}
Value dict_items(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("items", a, {});
  interpreter.charge_steps(static_cast<int64_t>(v.dict().size()));
  std::vector<Value> items;
  for (const auto& [key, value] : v.dict().items())
    items.push_back(interpreter.make_list({key, value}, true));
  return interpreter.make_list(std::move(items));
}
Value dict_keys(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("keys", a, {});
  return interpreter.make_list(interpreter.iterate(v));
}
Value dict_values(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("values", a, {});
  std::vector<Value> items;
  for (const auto& item : v.dict().items()) items.push_back(item.second);
  interpreter.charge_steps(static_cast<int64_t>(items.size()));
  return interpreter.make_list(std::move(items));
}
Value same(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("copy", a, {});
  return v;
}

Value list_index(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("index", a, {"value"});
  interpreter.charge_steps(static_cast<int64_t>(v.items().size() / 16));
  for (size_t i = 0; i < v.items().size(); ++i) {
    if (equal(v.items()[i], bound.require(0))) return static_cast<int64_t>(i);
  }
  fail(ErrorKind::kType, "index: the list does not have the value");
}
Value list_count(Interpreter& interpreter, const Value& v, const Arguments& a) {
  const Bound bound("count", a, {"value"});
  interpreter.charge_steps(static_cast<int64_t>(v.items().size() / 16));
  return static_cast<int64_t>(std::count_if(
      v.items().begin(), v.items().end(), [&](const Value& item) { return equal(item, bound.require(0)); }));
}

const Table& text_methods() {
  static const Table table = {{"split", text_split},
                              {"rsplit", text_rsplit},
                              {"splitlines", text_splitlines},
                              {"strip", text_strip<true, true>},
                              {"lstrip", text_strip<true, false>},
                              {"rstrip", text_strip<false, true>},
                              {"upper", text_map<upper>},
                              {"lower", text_map<lower>},
                              {"capitalize", text_map<capitalize>},
                              {"title", text_map<python_title>},
                              {"startswith", text_startswith},
                              {"endswith", text_endswith},
                              {"replace", text_replace},
                              {"find", text_find},
                              {"rfind", text_rfind},
                              {"count", text_count},
                              {"join", text_join},
                              {"removeprefix", text_removeprefix},
                              {"removesuffix", text_removesuffix},
                              {"partition", text_partition},
                              {"rpartition", text_rpartition},
                              {"isspace", text_is<is_space>},
                              {"isalpha", text_is<is_letter>},
                              {"isdigit", text_is<is_digit>},
                              {"isalnum", text_is<is_letter_or_digit>},
                              {"isupper", text_isupper},
                              {"islower", text_islower}};
  return table;
}

const Table& dict_methods() {
  static const Table table = {
      {"get", dict_get}, {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}, {"copy", same}};
  return table;
}

const Table& list_methods() {
  static const Table table = {{"index", list_index}, {"count", list_count}};
  return table;
}

}  // namespace

MethodFunction find_method(const Value& object, std::string_view name) {
  if (!object.is_text() && !object.is_dict() && !object.is_list()) return nullptr;
  const Table& table = object.is_text() ? text_methods() : object.is_dict() ? dict_methods() : list_methods();
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

bool is_mutating_method(const Value& object, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kList = {"append", "extend", "insert", "pop",
                                                            "remove", "clear",  "sort",   "reverse"};
  static constexpr std::array<std::string_view, 5> kDict = {"update", "setdefault", "pop", "popitem",
                                                            "clear"};
  static constexpr std::array<std::string_view, 2> kText = {
      "format", "format_map"};  // reach attributes of their arguments
  const auto has = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (object.is_list() && !object.list().is_tuple) return has(kList);
  if (object.is_dict()) return has(kDict) && object.dict().find(name) == nullptr;
  return object.is_text() && has(kText);
}

}  // namespace phalanx::data::jinja
