#include "data/json_value.h"

#include <simdjson.h>

#include <algorithm>

#include "core/error.h"
#include "core/json.h"

namespace phalanx::data {

namespace {

using jinja::Value;
namespace dom = simdjson::dom;

struct Rejected {
  std::string reason;
};

/// simdjson 3.0 lets a lone low surrogate through as bytes that are not UTF-8.
bool has_surrogate(std::string_view text) {
  for (size_t at = text.find('\xED'); at != std::string_view::npos; at = text.find('\xED', at + 1)) {
    if (at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) >= 0xA0) return true;
  }
  return false;
}

std::string checked_text(std::string_view text) {
  if (has_surrogate(text)) throw Rejected{"a lone surrogate in a string"};
  return std::string(text);
}

Value convert(const dom::element& element, int depth);

Value convert_object(const dom::object& object, int depth) {
  jinja::Dict dict;
  for (const dom::key_value_pair field : object) {
    const Value key(checked_text(field.key));
    if (dict.find(key) != nullptr)
      throw Rejected{fmt::format("duplicate key \"{}\"", core::printable(field.key, 60))};
    dict.set(key, convert(field.value, depth + 1));
  }
  return Value(std::move(dict));
}

Value convert_array(const dom::array& array, int depth) {
  std::vector<Value> items;
  items.reserve(array.size());
  for (const dom::element item : array) items.push_back(convert(item, depth + 1));
  return Value(std::move(items));
}

Value convert(const dom::element& element, int depth) {
  if (depth > kMaxJsonDepth) throw Rejected{fmt::format("nested deeper than {} levels", kMaxJsonDepth)};
  switch (element.type()) {
    case dom::element_type::OBJECT:
      return convert_object(element.get_object().value_unsafe(), depth);
    case dom::element_type::ARRAY:
      return convert_array(element.get_array().value_unsafe(), depth);
    case dom::element_type::STRING:
      return Value(checked_text(element.get_string().value_unsafe()));
    case dom::element_type::INT64:
      return Value(element.get_int64().value_unsafe());
    case dom::element_type::UINT64:
      throw Rejected{"an integer outside int64"};
    case dom::element_type::DOUBLE:
      return Value(element.get_double().value_unsafe());
    case dom::element_type::BOOL:
      return Value(element.get_bool().value_unsafe());
    default:
      return Value(jinja::None{});
  }
}

std::string_view reason_of(simdjson::error_code code) {
  switch (code) {
    case simdjson::EMPTY:
      return "empty";
    case simdjson::UTF8_ERROR:
      return "invalid UTF-8";
    case simdjson::STRING_ERROR:
      return "a bad escape or lone surrogate in a string";
    case simdjson::UNESCAPED_CHARS:
      return "a control character in a string";
    case simdjson::UNCLOSED_STRING:
      return "an unclosed string";
    case simdjson::DEPTH_ERROR:
      return "nested too deeply";
    case simdjson::NUMBER_ERROR:
      return "a bad number";
    case simdjson::CAPACITY:
      return "too large";
    default:
      return "not valid JSON";
  }
}

}  // namespace

bool parse_json(std::string_view text, Value* value, JsonProblem* problem) {
  thread_local dom::parser parser;
  dom::element root;
  const simdjson::error_code error = parser.parse(text.data(), text.size()).get(root);
  if (error != simdjson::SUCCESS) {
    *problem = {std::string(reason_of(error))};
    return false;
  }
  try {
    *value = convert(root, 1);
    return true;
  } catch (const Rejected& rejected) {
    *problem = {rejected.reason};
    return false;
  }
}

Value parse_json_or_fail(std::string_view text, std::string_view what) {
  Value value;
  JsonProblem problem;
  if (!parse_json(text, &value, &problem))
    core::fail(core::ExitCode::kBadInput, "{}: {}", what, problem.reason);
  return value;
}

Value parse_record_json(std::string_view text) {
  Value value;
  JsonProblem problem;
  if (parse_json(text, &value, &problem)) return value;
  core::parse_json(text, "not valid JSON");  // the fast parser does not say where; this one does
  core::fail(core::ExitCode::kBadInput, "not valid JSON: {}", problem.reason);
}

}  // namespace phalanx::data
