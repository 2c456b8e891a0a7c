#include "data/tokenizer_json_value.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/json.h"
#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

constexpr size_t kMaxJsonBytes = size_t{256} << 20;
constexpr size_t kMaxDepth = 64;

void refuse_duplicate_keys(simdjson::dom::element element, const std::string& file) {
  if (simdjson::dom::array array; element.get(array) == simdjson::SUCCESS) {
    for (const auto item : array) {
      if (item.is_object() || item.is_array()) refuse_duplicate_keys(item, file);
    }
  }
  simdjson::dom::object object;
  if (element.get(object) != simdjson::SUCCESS) return;
  std::vector<std::string_view> keys;
  for (const auto field : object) {
    keys.push_back(field.key);
    if (field.value.is_object() || field.value.is_array()) refuse_duplicate_keys(field.value, file);
  }
  if (!std::is_sorted(keys.begin(), keys.end())) std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice == keys.end()) return;
  fail_tokenizer(TokenizerErrorKind::kJson, "{}: the key \"{}\" occurs twice in one object; keep one of them",
                 file, core::printable(*twice, 60));
}

}  // namespace

std::string_view JsonValue::text() const {
  std::string_view value;
  if (element_.get(value) != simdjson::SUCCESS) wrong("a string");
  return value;
}

uint32_t JsonValue::character() const {
  const std::string_view value = text();
  if (value.empty()) wrong("one character");
  const char* p = value.data();
  const uint32_t c = next_code_point(p);
  if (p != value.data() + value.size()) wrong("one character");
  return c;
}

bool JsonValue::boolean() const {
  bool value;
  if (element_.get(value) != simdjson::SUCCESS) wrong("true or false");
  return value;
}

int64_t JsonValue::integer() const {
  int64_t value;
  if (element_.get(value) != simdjson::SUCCESS) wrong("an integer");
  return value;
}

double JsonValue::number() const {
  double value;
  if (element_.get(value) != simdjson::SUCCESS) wrong("a number");
  return value;
}

simdjson::dom::array JsonValue::array() const {
  simdjson::dom::array value;
  if (element_.get(value) != simdjson::SUCCESS) wrong("an array");
  return value;
}

simdjson::dom::object JsonValue::object() const {
  simdjson::dom::object value;
  if (element_.get(value) != simdjson::SUCCESS) wrong("an object");
  return value;
}

std::vector<JsonValue> JsonValue::items() const {
  std::vector<JsonValue> values;
  for (const auto item : array())
    values.emplace_back(item, file_, fmt::format("{}[{}]", path_, values.size()));
  return values;
}

JsonValue JsonValue::at(std::string_view key) const {
  if (auto value = find(key)) return *value;
  fail(TokenizerErrorKind::kSchema, "the key \"{}\" is missing", key);
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  simdjson::dom::element value;
  if (object().at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return JsonValue(value, file_, path_ == "file" ? std::string(key) : fmt::format("{}.{}", path_, key));
}

bool JsonValue::flag(std::string_view key, bool when_absent) const {
  const auto value = find(key);
  return value ? value->boolean() : when_absent;
}

void JsonValue::allow_keys(std::initializer_list<std::string_view> known) const {
  for (const auto field : object()) {
    if (std::find(known.begin(), known.end(), field.key) != known.end()) continue;
    fail(TokenizerErrorKind::kSchema, "the key \"{}\" is not known; known are {}",
         core::printable(field.key, 40), fmt::join(known, ", "));
  }
}

void JsonValue::wrong(std::string_view wanted) const {
  fail(TokenizerErrorKind::kSchema, "is {}, must be {}", core::printable(simdjson::minify(element_), 40),
       wanted);
}

namespace {

/// The same JSON with a double for every integer beyond 64 bits.
std::string with_doubles(std::string_view json, const std::string& file) {
  try {
    return core::to_text(core::parse_json(json, file));
  } catch (const core::Error& error) {
    fail_tokenizer(TokenizerErrorKind::kJson, "{}", error.what());
  }
}

}  // namespace

JsonDocument::JsonDocument(std::string_view json, std::string file, std::string path)
    : file_(std::move(file)), path_(std::move(path)) {
  if (json.size() > kMaxJsonBytes) {
    fail_tokenizer(TokenizerErrorKind::kTooLarge, "{}: has {} bytes, {} at most are read", file_, json.size(),
                   kMaxJsonBytes);
  }
  if (json.starts_with("\xEF\xBB\xBF")) {
    fail_tokenizer(TokenizerErrorKind::kJson,
                   "{}: begins with a byte-order mark; save it as UTF-8 without one", file_);
  }
  auto error = parser_.allocate(json.size(), kMaxDepth);
  if (error == simdjson::SUCCESS) error = parser_.parse(json.data(), json.size()).get(root_);
  if (error == simdjson::NUMBER_ERROR) {
    // It knows no integer beyond 64 bits, which transformers writes where model_max_length has no limit.
    const std::string text = with_doubles(json, file_);
    error = parser_.parse(text).get(root_);
  }
  if (error == simdjson::DEPTH_ERROR) {
    fail_tokenizer(TokenizerErrorKind::kDepth, "{}: is nested deeper than {} levels", file_, kMaxDepth);
  }
  if (error != simdjson::SUCCESS) {
    fail_tokenizer(TokenizerErrorKind::kJson, "{}: is not valid JSON: {}", file_,
                   simdjson::error_message(error));
  }
  if (!root_.is_object()) root().wrong("an object");
  refuse_duplicate_keys(root_, file_);
}

}  // namespace phalanx::data
